import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dice_talk.face_models.mesh import _crops, _framing, _placed

LEVEL = np.array([[1.0, 0, 0], [0, 1, 0]])


def part(scale: float = 1.0) -> Any:
    """Four landmarks, of which the first two lie level in the part's square."""
    return SimpleNamespace(corners=(0, 1), scale=scale, points=np.arange(4))


@pytest.mark.parametrize("angle", [0.0, 0.5, -2.0])
def test_a_parts_square_is_turned_with_it_and_holds_its_landmarks(angle: float) -> None:
    flat = np.array([[-2.0, 0], [2, 0], [0, 1], [0, -1]])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = flat @ turn + (5, 7)
    transform = _framing(points, part())
    assert transform[:, 2] == pytest.approx([5, 7])
    back = (points - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    assert back == pytest.approx(flat / (4, 2), abs=1e-9), "shares of the square, in [-.5, .5]"
    assert np.abs(_framing(points, part(2.0))[:, :2]) == pytest.approx(2 * np.abs(transform[:, :2]))


def test_a_parts_answer_in_pixels_becomes_shares_of_the_view() -> None:
    answer = np.array([0, 0, 32, 32, 64, 64], np.float32)
    assert _placed(answer, LEVEL).tolist() == [[-0.5, -0.5], [0, 0], [0.5, 0.5]]
    moved = np.array([[0.2, 0, 0.5], [0, 0.4, 0.5]])
    assert _placed(answer, moved) == pytest.approx(np.array([[0.4, 0.3], [0.5, 0.5], [0.6, 0.7]]))


def test_a_square_of_the_feature_map_is_read_between_its_cells() -> None:
    y, x = np.mgrid[:48, :48].astype(np.float32)
    features = np.stack([x, y])
    third = np.array([[1 / 3, 0, 0.5], [0, 1 / 3, 0.5]])  # 16 cells of 48, in the middle: cell by cell
    (crop,) = _crops(features, third[None])
    assert crop.shape == (1, 2, 16, 16)
    assert crop[0, 0, 3] == pytest.approx(np.arange(16, 32), abs=1e-3)
    assert crop[0, 1, :, 3] == pytest.approx(np.arange(16, 32), abs=1e-3)
    sixth = np.array([[1 / 6, 0, 0.5], [0, 1 / 6, 0.5]])  # two values for each cell
    assert _crops(features, sixth[None])[0][0, 0, 0] == pytest.approx(np.arange(16) / 2 + 19.75, abs=1e-3)


def test_outside_the_feature_map_there_is_nothing() -> None:
    features = np.ones((3, 48, 48), np.float32)
    far, half = np.array([[0.2, 0, 5.0], [0, 0.2, 5.0]]), np.array([[1.0, 0, 0], [0, 1.0, 0.5]])
    outside, partly = _crops(features, np.stack([far, half]))
    assert not outside.any()
    assert not partly[..., :8].any() and (partly[..., 8:] == 1).all()
