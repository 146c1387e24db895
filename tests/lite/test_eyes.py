from dataclasses import replace

import cv2
import numpy as np

from dice_talk.lite import topology as at
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.eyes import fit_eye, make_eyes
from dice_talk.lite.rig import Rig
from tests.lite import schematic
from tests.lite.drawing import draw


def test_a_shine_below_an_eye_is_not_its_white_but_what_flows_over_the_lid_is(rig: Rig) -> None:
    rim = rig.canvas.points[[*at.LEFT_EYE_UPPER, *at.LEFT_EYE_LOWER]]
    (x, y), wide = rim.mean(0).round().astype(int), float(np.ptp(rim[:, 0]))
    shining, enlarged = rig.canvas.pixels.copy(), rig.canvas.pixels.copy()
    low = int(rim[:, 1].max() + 0.05 * wide)
    shining[low : low + round(0.1 * wide), x - round(0.4 * wide) : x + round(0.4 * wide)] = 255
    cv2.circle(enlarged, (int(x), int(y)), round(1.3 * wide), (255, 255, 255), -1)
    eye = at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER
    assert fit_eye(replace(rig.canvas, pixels=shining), *eye) is not None
    assert fit_eye(replace(rig.canvas, pixels=enlarged), *eye) is None


def test_landmarks_that_fit_stay_where_they_are(face: Canvas) -> None:
    found = fit_eye(face, at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER)
    assert found is not None and np.abs(found - face.points).max() < 4
    others = [i for i in range(478) if i not in {*at.LEFT_EYE_UPPER, *at.LEFT_EYE_LOWER}]
    assert np.array_equal(found[others], face.points[others])


def test_open_eyes_move_and_shut_ones_do_not(face: Canvas) -> None:
    assert not any(eye.still for eye in make_eyes(face))
    assert all(eye.still for eye in make_eyes(schematic.canvas(eyes=0)))


def test_nobody_winks(face: Canvas) -> None:
    """Where one eye is shut, the other is left alone too."""
    points = face.points.copy()
    points[[*at.LEFT_EYE_UPPER]] = points[[*at.LEFT_EYE_LOWER]]
    assert all(eye.still for eye in make_eyes(replace(face, points=points)))


def test_an_eye_that_is_shut_in_the_portrait_is_left_alone(rig: Rig) -> None:
    one = np.ones(1, np.float32)
    asleep = replace(rig, eyes=(replace(rig.eyes[0], still=True), replace(rig.eyes[1], still=True)))
    assert np.array_equal(draw(asleep, shut=one), draw(asleep))
    assert not np.array_equal(draw(rig, shut=one), draw(rig))
