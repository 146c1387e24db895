from dataclasses import replace

import cv2
import numpy as np
import pytest

from dice_talk.lite.canvas import Canvas
from dice_talk.lite.glasses import coloured_rim, dark_lenses, wears_glasses
from dice_talk.lite.rig import Rig


def test_a_bar_across_the_nose_is_a_pair_of_glasses(rig: Rig) -> None:
    pixels = rig.canvas.pixels.copy()
    row, thick = round(float(rig.canvas.points[6, 1])), round(0.012 * rig.canvas.unit)
    pixels[row : row + thick] = 20
    assert wears_glasses(replace(rig.canvas, pixels=pixels))
    assert not wears_glasses(rig.canvas)


def test_sunglasses_are_noticed(rig: Rig) -> None:
    pixels = rig.canvas.pixels.copy()
    for iris in (468, 473):
        x, y = rig.canvas.points[iris].round().astype(int)
        cv2.circle(pixels, (int(x), int(y)), round(0.2 * rig.canvas.unit), (10, 10, 12), -1)
    assert dark_lenses(replace(rig.canvas, pixels=pixels))
    assert not dark_lenses(rig.canvas)


def test_a_coloured_rim_is_noticed_and_painted_lids_are_not(rig: Rig) -> None:
    rimmed, painted = rig.canvas.pixels.copy(), rig.canvas.pixels.copy()
    top, bottom = (round(float(rig.canvas.points[159, 1]) - up * rig.canvas.unit) for up in (0.05, 0.01))
    rimmed[top:bottom] = (215, 30, 150)
    painted[top:bottom] = (0.75 * painted[top:bottom] + 0.25 * np.array((215, 30, 150))).astype(np.uint8)
    assert coloured_rim(replace(rig.canvas, pixels=rimmed))
    assert not coloured_rim(replace(rig.canvas, pixels=painted))
    assert not coloured_rim(rig.canvas)


def barred(face: Canvas, row: float, level: int) -> Canvas:
    """A horizontal bar, `row` face heights below the middle."""
    pixels = face.pixels.copy()
    top = round(145 + row * face.unit)
    pixels[top : top + 2] = level
    return replace(face, pixels=pixels)


@pytest.mark.parametrize(
    ("row", "level", "worn"), [(-0.05, 20, True), (-0.05, 90, True), (-0.05, 140, False), (0.2, 20, False)]
)
def test_a_bridge_is_dark_and_crosses_the_nose(face: Canvas, row: float, level: int, worn: bool) -> None:
    assert wears_glasses(barred(face, row, level)) is worn


def test_a_bare_face_has_none(face: Canvas) -> None:
    assert not wears_glasses(face) and not dark_lenses(face) and not coloured_rim(face)


def test_a_dark_face_wears_no_sunglasses(face: Canvas) -> None:
    assert not dark_lenses(replace(face, pixels=face.pixels // 8))


def test_sunglasses_are_dark_below_both_eyes(face: Canvas) -> None:
    both, one = face.pixels.copy(), face.pixels.copy()
    both[130:150, 100:190] = 15
    one[130:150, 100:140] = 15
    assert dark_lenses(replace(face, pixels=both))
    assert not dark_lenses(replace(face, pixels=one))


@pytest.mark.parametrize(("colour", "seen"), [((60, 60, 250), True), ((215, 170, 150), False), ((20, 20, 80), False)])
def test_a_rim_has_a_hue_that_skin_has_not_and_is_light(face: Canvas, colour: tuple[int, int, int], seen: bool) -> None:
    pixels = face.pixels.copy()
    pixels[126:131] = colour
    assert coloured_rim(replace(face, pixels=pixels)) is seen
