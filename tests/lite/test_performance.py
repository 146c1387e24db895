from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.eyes import make_eyes
from dice_talk.lite.fields import SKIN
from dice_talk.lite.performance import Performance, perform
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
    none, half, normal = (act(rig, speaking, emotion="sad", emo_scale=s).skin[-1, brow] for s in (0, 3, 6))
    assert none == 0 and normal == pytest.approx(2 * half)


def test_a_strong_expression_stays_a_face(rig: Rig, speaking: Speaking) -> None:
    corner = SKIN.index("corner_out_left")
    normal, strong = (act(rig, speaking, emotion="happy", emo_scale=s).skin[-1, corner] for s in (6, 10))
    assert 1.15 * normal < strong < 1.3 * normal


def test_without_emotion_the_mouth_still_speaks(rig: Rig, speaking: Speaking) -> None:
    assert act(rig, speaking, emotion="happy", emo_scale=0).gap.max() > 0.03


def test_the_emotion_comes_gently(rig: Rig, speaking: Speaking) -> None:
    corner = act(rig, speaking, emotion="happy").skin[:, SKIN.index("corner_up_left")]
    assert corner[0] < 0.01 * corner[-1] and (np.diff(corner) >= 0).all()


def test_ref_scale_holds_the_face_nearer_to_the_portrait(rig: Rig, speaking: Speaking) -> None:
    loose, tight = (act(rig, speaking, emotion="angry", ref_scale=s) for s in (1, 10))
    assert np.abs(tight.skin[-1]).sum() < 0.8 * np.abs(loose.skin[-1]).sum()
    assert np.abs(tight.head).max() < 0.8 * np.abs(loose.head).max()


def test_dynamic_scale_scales_the_heads_motion(rig: Rig, speaking: Speaking) -> None:
    calm, lively = (act(rig, speaking, dynamic_scale=s).head[:, 0] for s in (0.5, 1))
    assert lively == pytest.approx(2 * calm, rel=1e-3)


def test_the_mouth_opens_no_wider_than_mouths_do(rig: Rig, speaking: Speaking) -> None:
    normal, wild = (act(rig, speaking, emotion="surprised", dynamic_scale=s).gap for s in (1, 3))
    assert normal.max() < wild.max() < 0.115


def test_the_jaw_follows_the_lips(rig: Rig, speaking: Speaking) -> None:
    performance = act(rig, speaking)
    jaw = performance.skin[:, SKIN.index("jaw")]
    assert np.corrcoef(jaw, performance.gap)[0, 1] > 0.95


def test_only_a_smile_that_does_not_belong_is_taken_back(rig: Rig, speaking: Speaking) -> None:
    lifted, _ = rig.smile
    assert lifted > 0.01  # the example portrait smiles
    corner = SKIN.index("corner_up_left")
    assert act(rig, speaking, emotion="happy").skin[-1, corner] > 0
    assert act(rig, speaking, emotion="neutral").skin[-1, corner] < -0.2 * lifted


def test_a_face_seen_from_the_side_moves_less(rig: Rig, speaking: Speaking) -> None:
    points = rig.canvas.points.copy()
    points[at.NOSE_TIP, 0] = points[at.RIGHT_EAR, 0] + 0.3 * rig.canvas.unit
    aside = replace(rig, canvas=replace(rig.canvas, points=points))
    assert rig.canvas.turn < 0.4 < 1.2 < aside.canvas.turn
    front, side = (act(r, speaking, emotion="happy") for r in (rig, aside))
    assert np.abs(side.gap).max() < 0.5 * np.abs(front.gap).max()
    assert np.abs(side.head).max() < 0.5 * np.abs(front.head).max()
    assert all(eye.still for eye in make_eyes(aside.canvas))
