from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.eyes import make_eyes
from dice_talk.lite.fields import SKIN
from dice_talk.lite.head import HEAD
from dice_talk.lite.performance import Performance, perform
from dice_talk.lite.phones import Phone
from dice_talk.lite.rig import Rig
from dice_talk.lite.visemes import Speaking, speak
from dice_talk.options import RenderOptions

FRAMES, FPS = 100, 25


@pytest.fixture(scope="module")
def speaking() -> Speaking:
    loud = np.maximum(np.sin(np.arange(400) / 8), 0).astype(np.float32)
    return speak([], loud)


def act(rig: Rig, speaking: Speaking, **options: Any) -> Performance:
    chosen = {"emotion": "neutral", "seed": 1, "fps": FPS} | options
    return perform(rig, speaking, FRAMES, RenderOptions(**chosen))


def same(a: Performance, b: Performance) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_one_value_per_frame(rig: Rig, speaking: Speaking) -> None:
    performance = act(rig, speaking)
    assert len(performance) == FRAMES
    assert performance.skin.shape == (FRAMES, len(SKIN)) and performance.gaze.shape == (FRAMES, 2)


def test_the_seed_decides_everything_random(rig: Rig, speaking: Speaking) -> None:
    assert same(act(rig, speaking, seed=7), act(rig, speaking, seed=7))
    assert not same(act(rig, speaking, seed=7), act(rig, speaking, seed=8))


def test_emo_scale_scales_the_expression(rig: Rig, speaking: Speaking) -> None:
    brow = SKIN.index("brow_inner")
    none, half, normal = (act(rig, speaking, emotion="sad", emo_scale=s).skin[:, brow] for s in (0, 3, 6))
    assert normal - none == pytest.approx(2 * (half - none), abs=1e-5)
    assert np.abs(normal - none).max() > 0.03


def test_a_strong_expression_stays_a_face(rig: Rig, speaking: Speaking) -> None:
    corner = SKIN.index("corner_out_left")
    normal, strong = (act(rig, speaking, emotion="happy", emo_scale=s).skin[:, corner].max() for s in (6, 10))
    assert 1.15 * normal < strong < 1.3 * normal


def test_without_emotion_the_mouth_still_speaks(rig: Rig, speaking: Speaking) -> None:
    assert act(rig, speaking, emotion="happy", emo_scale=0).gap.max() > 0.03


def test_the_emotion_comes_gently(rig: Rig, speaking: Speaking) -> None:
    corner = act(rig, speaking, emotion="happy").skin[:, SKIN.index("corner_up_left")]
    assert abs(corner[0]) < 0.02 * corner.max() and np.abs(np.diff(corner)).max() < 0.3 * corner.max()


def test_two_portraits_with_one_seed_do_not_blink_together(rig: Rig, speaking: Speaking) -> None:
    other = replace(rig, picture=rig.picture[:, ::-1])
    one, two = (act(r, speaking, seed=7, emotion="happy") for r in (rig, other))
    assert one.blinks != two.blinks
    assert not np.array_equal(one.head, two.head)


def test_an_emotion_is_not_quite_symmetrical(rig: Rig, speaking: Speaking) -> None:
    skin = act(rig, speaking, emotion="happy").skin
    left, right = (skin[40:, SKIN.index(f"corner_up_{side}")].mean() for side in ("left", "right"))
    assert 0.04 < abs(left / right - 1) < 0.15


def test_lips_that_an_emotion_parts_still_shut_on_p_b_and_m(rig: Rig) -> None:
    phones = [Phone("AA", 1.0, 2.0), Phone("M", 2.0, 2.2), Phone("AA", 2.2, 3.0)]
    loud = np.repeat(np.array([0, 1, 0.5, 1, 0], np.float32), (100, 100, 20, 80, 100))
    gap = act(rig, speak(phones, loud), emotion="surprised").gap
    assert gap[40:48].min() > 0.05 and gap[52:53].max() < 1e-6


def test_the_shoulders_breathe(rig: Rig, speaking: Speaking) -> None:
    lungs = act(rig, speaking).head[:, HEAD.index("breath")]
    assert 0.005 < np.ptp(lungs) < 0.03


def test_a_tenth_of_the_motion_is_nearly_none(rig: Rig, speaking: Speaking) -> None:
    performance = act(rig, speaking, dynamic_scale=0.1)
    assert np.degrees(np.abs(performance.head[:, :3])).max() < 0.7
    assert np.abs(performance.head[:, 3:]).max() < 0.002


def test_ref_scale_holds_the_face_nearer_to_the_portrait(rig: Rig, speaking: Speaking) -> None:
    loose, tight = (act(rig, speaking, emotion="angry", ref_scale=s) for s in (1, 10))
    assert np.abs(tight.skin[-1]).sum() < 0.8 * np.abs(loose.skin[-1]).sum()
    assert np.abs(tight.head).max() < 0.8 * np.abs(loose.head).max()


def test_dynamic_scale_scales_the_heads_motion(rig: Rig, speaking: Speaking) -> None:
    calm, lively = (act(rig, speaking, dynamic_scale=s).head[:, 0] for s in (0.5, 1))
    assert lively == pytest.approx(2 * calm, rel=1e-3)


def test_the_mouth_opens_no_wider_than_mouths_do(rig: Rig, speaking: Speaking) -> None:
    normal, wild = (act(rig, speaking, emotion="surprised", dynamic_scale=s).gap for s in (1, 3))
    assert normal.max() < wild.max() < 0.145


def test_the_jaw_follows_the_lips(rig: Rig, speaking: Speaking) -> None:
    performance = act(rig, speaking)
    jaw = performance.skin[:, SKIN.index("jaw")]
    assert np.corrcoef(jaw, performance.gap)[0, 1] > 0.95


def test_the_portraits_own_smile_is_taken_back_but_for_a_happy_face(rig: Rig, speaking: Speaking) -> None:
    lifted, _ = rig.smile
    assert lifted > 0.01  # the example portrait smiles
    corner = SKIN.index("corner_up_left")
    happy, neutral = (act(rig, speaking, emotion=emotion) for emotion in ("happy", "neutral"))
    assert happy.skin[20:, corner].min() > 0 and not happy.calm.any()
    assert neutral.skin[-1, corner] < -0.8 * lifted
    assert neutral.calm[0] < 0.05 and neutral.calm[15:] == pytest.approx(rig.smiling)


def test_a_face_seen_from_the_side_moves_less(rig: Rig, speaking: Speaking) -> None:
    points = rig.canvas.points.copy()
    points[at.NOSE_TIP, 0] = points[at.RIGHT_EAR, 0] + 0.3 * rig.canvas.unit
    aside = replace(rig, canvas=replace(rig.canvas, points=points))
    assert rig.canvas.turn < 0.4 < 1.2 < aside.canvas.turn
    front, side = (act(r, speaking, emotion="happy") for r in (rig, aside))
    assert np.abs(side.gap).max() < 0.5 * np.abs(front.gap).max()
    assert np.abs(side.head).max() < 0.5 * np.abs(front.head).max()
    assert all(eye.still for eye in make_eyes(aside.canvas))
