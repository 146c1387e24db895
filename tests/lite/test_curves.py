import numpy as np
import pytest

from dice_talk.lite.curves import contour, fade, smooth


def test_a_contour_goes_through_its_points_and_is_flat_beyond() -> None:
    points = np.array([(10, 5), (20, 15), (30, 5)], np.float32)
    heights = contour(points, np.arange(40, dtype=np.float32), 0)
    assert heights[[0, 10, 15, 20, 30, 39]] == pytest.approx([5, 5, 10, 15, 5, 5])


def test_points_may_come_in_any_order() -> None:
    points = np.array([(30, 5), (10, 5), (20, 15)], np.float32)
    assert contour(points, np.array([15], np.float32), 0) == pytest.approx([10])


def test_smoothing_keeps_what_is_flat_and_lowers_what_is_sharp() -> None:
    assert smooth(np.full(50, 3, np.float32), 4) == pytest.approx(np.full(50, 3))
    peak = np.zeros(50, np.float32)
    peak[25] = 1
    assert smooth(peak, 4).sum() == pytest.approx(1, abs=1e-5)
    assert smooth(peak, 4).max() < 0.2


def test_skin_follows_fully_at_the_edge_and_not_at_all_far_away() -> None:
    follow = fade(np.array([-5.0, 0, 2, 7, 12, 20], np.float32), 2, 10)
    assert follow == pytest.approx([1, 1, 1, 0.5, 0, 0])
