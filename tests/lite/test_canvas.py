from dataclasses import replace

import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.canvas import Canvas, make_canvas
from dice_talk.lite.rig import Rig
from tests.lite import schematic


def test_the_canvas_is_upright_and_fine_enough(rig: Rig) -> None:
    eyes = rig.canvas.points[[33, 263]]
    assert abs(eyes[1, 1] - eyes[0, 1]) < 0.06 * rig.canvas.unit
    assert np.linalg.norm(rig.canvas.points[10] - rig.canvas.points[152]) == pytest.approx(rig.canvas.unit, rel=1e-3)


def landmarks(angle: float = 0.0, unit: float = 100.0) -> np.ndarray:
    """The schematic face in a picture, `(478, 3)`, turned clockwise by `angle` in radians."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = schematic.points() @ turn.T * unit + (200, 150)
    return np.column_stack([flat, np.full(478, -5.0)]).astype(np.float32)


def on_canvas(points: np.ndarray, width: int = 400, height: int = 300) -> Canvas:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    return make_canvas(picture, points, width, height)


@pytest.mark.parametrize("angle", [-0.5, 0.0, 0.3])
def test_a_head_that_leans_is_turned_upright(angle: float) -> None:
    canvas = on_canvas(landmarks(angle))
    left, right = canvas.points[at.LEFT_EYE_OUTER], canvas.points[at.RIGHT_EYE_OUTER]
    forehead, chin = canvas.points[at.FOREHEAD], canvas.points[at.CHIN]
    assert left[1] == pytest.approx(right[1], abs=0.1) and left[0] < right[0]
    assert forehead[0] == pytest.approx(chin[0], abs=0.1) and forehead[1] < chin[1]


@pytest.mark.parametrize(("width", "height"), [(400, 300), (200, 150), (800, 600)])
def test_the_affine_takes_the_videos_pixels_to_the_canvas(width: int, height: int) -> None:
    points = landmarks(0.3)
    canvas = on_canvas(points, width, height)
    in_video = points[:, :2] * (width / 400, height / 300)
    assert np.abs(in_video @ canvas.affine[:, :2].T + canvas.affine[:, 2] - canvas.points).max() < 0.01


@pytest.mark.parametrize(("unit", "expected"), [(10, 32), (100, 200), (390, 780), (600, 800), (1000, 1000)])
def test_it_is_twice_as_fine_as_the_video_within_limits(unit: float, expected: float) -> None:
    assert on_canvas(landmarks(unit=unit)).unit == pytest.approx(expected, rel=1e-3)


def test_depth_points_to_the_camera_and_grows_with_the_canvas() -> None:
    assert on_canvas(landmarks()).depth == pytest.approx(10)
    assert on_canvas(landmarks(), 800, 600).depth == pytest.approx(20)


def test_a_portrait_that_is_enlarged_is_soft() -> None:
    assert on_canvas(landmarks(), 200, 150).softness == 1
    assert on_canvas(landmarks(), 1600, 1200).softness == pytest.approx(0.7 * 4 * 2)


def test_pixels_outside_are_those_of_the_edge(face: Canvas) -> None:
    pixels = face.pixels.copy()
    pixels[0, 0], pixels[-1, -1] = (1, 2, 3), (4, 5, 6)
    canvas = replace(face, pixels=pixels)
    assert canvas.pixels_at(np.array([[-9, -9], [999, 999]], np.float32)).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert canvas.pixels_at_landmarks((at.LEFT_CHEEK, 151)).tolist() == [list(schematic.SKIN_COLOUR)] * 2


@pytest.mark.parametrize("sign", [-1, 1])
def test_how_far_a_head_is_turned(face: Canvas, sign: int) -> None:
    assert face.turn == pytest.approx(0, abs=1e-5)
    points = face.points.copy()
    half = float(points[at.RIGHT_EAR, 0] - points[at.LEFT_EAR, 0]) / 2
    points[at.NOSE_TIP, 0] += sign * 0.5 * half
    assert replace(face, points=points).turn == pytest.approx(0.5, abs=1e-4)
