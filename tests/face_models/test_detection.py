import math

import numpy as np
import pytest

from dice_talk.face import Box
from dice_talk.face_models import views
from dice_talk.face_models.detection import Detection, _grid, _iou, _merged, _rows, face_view


def candidate(score: float, left: float, top: float, right: float, bottom: float) -> list[float]:
    return [score, left, top, right, bottom, *np.full(12, left)]


def test_cells_are_counted_row_by_row() -> None:
    assert _grid(2, 1).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert _grid(2, 3).shape == (12, 2) and (_grid(2, 3)[:3] == 0.25).all()


def test_a_cells_block_of_neighbours_becomes_rows() -> None:
    """The far network gives each cell the values of 2 x 2 neighbours, as channels."""
    spread = np.arange(4 * 4, dtype=np.float32).reshape(4, 4)  # what belongs to each cell of a 4 x 4 map
    packed = spread.reshape(2, 2, 2, 2).transpose(1, 3, 0, 2).reshape(1, 4, 2, 2)
    assert _rows(packed, 16).ravel().tolist() == list(range(16))
    assert _rows(np.arange(6, dtype=np.float32).reshape(1, 3, 2), 3).tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("other", "overlap"),
    [((0, 0, 2, 2), 1.0), ((1, 0, 3, 2), 1 / 3), ((2, 0, 4, 2), 0.0), ((5, 5, 6, 6), 0.0), ((1, 1, 1, 1), 0.0)],
)
def test_overlap(other: tuple[float, ...], overlap: float) -> None:
    assert _iou(np.array([0.0, 0, 2, 2]), np.array([other], float)) == pytest.approx([overlap])


def test_boxes_without_an_area_do_not_overlap() -> None:
    assert _iou(np.zeros(4), np.zeros((1, 4))).tolist() == [0]


def test_boxes_of_one_face_are_averaged_by_score() -> None:
    found = _merged(
        np.array([candidate(0.5, 0.12, 0, 1.12, 1), candidate(0.9, 0, 0, 1, 1), candidate(0.6, 3, 3, 4, 4)])
    )
    assert [face[0] for face in found] == [0.9, 0.6]
    assert found[0][1] == pytest.approx(0.5 * 0.12 / 1.4) and found[1][1:5].tolist() == [3, 3, 4, 4]


def test_nothing_merges_to_nothing() -> None:
    assert _merged(np.zeros((0, 17))) == []


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.0])
def test_the_mesh_looks_at_a_square_in_which_the_eyes_lie_level(angle: float) -> None:
    box = Box(10, 20, 50, 80)
    points = np.zeros((6, 2), np.float32)
    points[0], points[1] = (20, 30), (20 + 10 * math.cos(angle), 30 + 10 * math.sin(angle))
    view = face_view(Detection(box, 1.0, points))
    assert (view.x, view.y, view.width, view.height) == (30, 50, 90, 90)
    assert view.angle == pytest.approx(angle, abs=1e-6)
    assert view == views.View(30, 50, 90, 90, view.angle)
