from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.fields import SKIN
from dice_talk.lite.head import HEAD
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig
from tests.lite.drawing import draw, on_video, still


def test_a_face_that_does_nothing_is_the_portrait(rig: Rig) -> None:
    frame = draw(rig)
    error = np.mean((frame.astype(float) - rig.picture) ** 2)
    assert frame.shape == rig.picture.shape and frame.dtype == np.uint8
    assert 10 * np.log10(255**2 / error) > 34


def test_the_background_stays_untouched_while_the_head_turns(rig: Rig) -> None:
    turned = draw(rig, head=np.array([[0.05, 0.05, 0.05, 0.01, 0.01, 0.01]], np.float32))
    changed = (turned != rig.picture).any(axis=2)
    assert changed[rig.area].mean() > 0.2
    changed[rig.area] = False
    assert not changed.any()
    corner = rig.picture.shape[0] // 12
    assert np.array_equal(turned[:corner, :corner], rig.picture[:corner, :corner])


@pytest.mark.parametrize(("parameter", "direction"), [("shift_x", (1, 0)), ("shift_y", (0, 1)), ("yaw", (1, 0))])
def test_the_head_goes_where_it_is_told(rig: Rig, parameter: str, direction: tuple[int, int]) -> None:
    pose = np.zeros((1, len(HEAD)), np.float32)
    pose[0, HEAD.index(parameter)] = 0.06
    moved, x_y = draw(rig, head=pose), on_video(rig, at.NOSE_TIP)
    found = _shift(rig.picture, moved, x_y)
    assert np.dot(found, direction) >= 2
    assert abs(np.dot(found, direction[::-1])) <= 1


def test_the_jaw_moves_the_chin_and_not_the_nose(rig: Rig) -> None:
    skin = np.zeros((1, len(SKIN)), np.float32)
    skin[0, SKIN.index("jaw")] = 0.06
    dropped = draw(rig, skin=skin)
    nose, chin = on_video(rig, at.NOSE_TIP), on_video(rig, 200)
    assert _shift(rig.picture, dropped, chin)[1] >= 2
    assert _shift(rig.picture, dropped, nose) == (0, 0)


def _shift(before: Pixels, after: Pixels, centre: tuple[int, int], radius: int = 9, reach: int = 8) -> tuple[int, int]:
    """Where the patch around `centre` went, by trying every place."""
    x, y = centre
    patch = before[y - radius : y + radius, x - radius : x + radius].astype(float)
    errors = {
        (dx, dy): float(
            np.mean((after[y + dy - radius : y + dy + radius, x + dx - radius : x + dx + radius] - patch) ** 2)
        )
        for dx in range(-reach, reach + 1)
        for dy in range(-reach, reach + 1)
    }
    return min(errors, key=lambda shift: errors[shift])


def test_lids_and_gaze_are_those_of_the_frame_whatever_came_before(rig: Rig) -> None:
    """Lids are kept from frame to frame, until anything changes that they depend on."""
    eyes = {
        "shut": [0, 1, 1, 1, 1, 0, 0],
        "raised": [0, 0, 0.03, 0.03, 0.03, 0, 0],
        "squint": [0, 0, 0, 0.012, 0.012, 0, 0.012],
    }
    gaze = [0, 0, 0, 0, 0.01, 0, 0]
    moves: dict[str, Any] = {name: np.array(values, np.float32) for name, values in eyes.items()}
    moves["shut"] *= np.float32(0.3)  # an eye that is shut shows nothing of the rest
    moves["gaze"] = np.stack([np.array(gaze, np.float32)] * 2, axis=1)
    count = len(gaze)
    together = still(
        rig,
        **{
            name: np.repeat(value, count, axis=0)
            for name, value in vars(still(rig)).items()
            if name not in ("blinks", "closures", "folds", "creases")
        },
    )
    seen = list(frames(rig, replace(together, **moves)))
    alone = [draw(rig, **{name: values[i : i + 1] for name, values in moves.items()}) for i in range(count)]
    for i in range(count):
        assert np.array_equal(seen[i], alone[i]), i
        assert i == 0 or not np.array_equal(seen[i], seen[i - 1]), i


def test_where_head_and_picture_meet_they_are_mixed(rig: Rig) -> None:
    turned = {"head": np.array([[0.05, 0.03, 0.02, 0.01, 0.01, 0.01]], np.float32)}
    unmixed = replace(rig, edge_share=np.ones_like(rig.edge_share), edge_own=np.full_like(rig.edge_own, 0.5))
    mixed, moved, own = (
        picture[rig.area].reshape(-1).astype(float)
        for picture in (draw(rig, **turned), draw(unmixed, **turned), rig.picture)
    )
    assert 0 < rig.edge_share.min() < 0.1 and 0.9 < rig.edge_share.max() < 1
    pixels, shares = rig.edge.reshape(-1, 3), rig.edge_share.reshape(-1, 3)
    assert (pixels % 3 == (0, 1, 2)).all() and (shares == shares[:, :1]).all(), "a pixel's channels go together"
    assert np.abs(moved - own)[rig.edge].max() > 20, "a mix of two that are alike would show nothing"
    expected = own[rig.edge] + (moved[rig.edge] - own[rig.edge]) * rig.edge_share
    assert np.abs(mixed[rig.edge] - expected).max() < 1
    rest = np.ones(len(mixed), bool)
    rest[rig.edge] = False
    assert np.array_equal(mixed[rest], moved[rest])
