from dataclasses import replace

import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.furrows import draw_furrows, make_furrows
from dice_talk.lite.rig import Rig
from tests.lite.drawing import draw, on_video


def test_a_frown_darkens_the_skin_between_the_brows_and_nothing_else(rig: Rig) -> None:
    one = np.ones(1, np.float32)
    change = draw(rig).astype(int) - draw(rig, frown=one, wrinkled=one)
    (left, _), (right, _), (_, bottom) = (on_video(rig, i) for i in (55, 285, at.NOSE_RIDGE))
    between = change[:bottom, left:right]
    assert between.min() >= -1 and 20 < between.max() < 90
    between[:] = 0
    assert not change.any()


def test_nobody_frowns_through_glasses(rig: Rig) -> None:
    pixels = rig.canvas.pixels.copy()
    row, thick = round(float(rig.canvas.points[6, 1])), round(0.012 * rig.canvas.unit)
    pixels[row : row + thick] = 20
    assert make_furrows(rig.canvas).frown.any()
    assert not make_furrows(replace(rig.canvas, pixels=pixels)).frown.any()


def test_no_frown_changes_nothing(face: Canvas) -> None:
    canvas = face.pixels.copy()
    draw_furrows(make_furrows(face), canvas, 0.0, 0.0)
    assert np.array_equal(canvas, face.pixels)


def test_depths_are_shares_and_lie_on_both_sides(face: Canvas) -> None:
    furrows = make_furrows(face)
    middle = furrows.frown.shape[1] // 2
    for lines in (furrows.frown, furrows.wrinkled):
        assert lines.min() >= 0 and 0.2 < lines.max() <= 1.2
        assert lines[:, :middle].sum() == pytest.approx(lines[:, -middle:].sum(), rel=0.2)
    assert furrows.frown.max() > furrows.wrinkled.max()
    assert furrows.frown[:, middle].max() < 0.5 * furrows.frown.max(), "two lines, not one"


def test_twice_the_frown_is_twice_as_dark_up_to_a_limit(face: Canvas) -> None:
    furrows, darker = make_furrows(face), []
    for frown in (0.4, 0.8, 10.0, 100.0):
        canvas = face.pixels.copy()
        draw_furrows(furrows, canvas, frown, 0.0)
        darker.append(int((face.pixels.astype(int) - canvas).max()))
    assert darker[1] == pytest.approx(2 * darker[0], abs=2)
    assert darker[2] == darker[3] < 0.4 * face.pixels.max()


def test_red_skin_keeps_more_of_its_red(face: Canvas) -> None:
    red, green, blue = make_furrows(face).depth
    assert red < green < blue
