import numpy as np
import pytest
from numpy.typing import NDArray

from dice_talk.lite.curves import bounds, contour, fade, limited, smooth, smoothstep


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_smooth_step_has_limits_a_middle_and_flat_ends(dtype: type) -> None:
    x: NDArray[np.floating] = np.linspace(-0.5, 1.5, 201).astype(dtype)
    y = smoothstep(x)
    assert y.dtype == dtype
    assert y[[0, 50, 100, 150, 200]] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)
    slopes = np.diff(y)
    assert (slopes >= 0).all() and slopes[50] < 0.01 * slopes.max() * 2 and slopes.argmax() in (99, 100)
    assert smoothstep(x, 3) == pytest.approx(3 * y, abs=1e-6)


def test_what_is_limited_is_kept_below_the_knee_and_never_reaches_the_end() -> None:
    values = np.linspace(0, 10, 101, dtype=np.float32)
    soft = limited(values, 1.0, 0.5)
    assert soft[values <= 1] == pytest.approx(values[values <= 1])
    assert (np.diff(soft) >= 0).all() and 1.49 < soft.max() <= 1.5
    assert soft[11] == pytest.approx(1.1, abs=0.02), "it goes on as it came"


@pytest.mark.parametrize(
    ("rows", "columns"), [((2, 3), (1, 4)), ((0, 6), (0, 7)), ((5, 6), (6, 7))], ids=["inside", "all", "corner"]
)
def test_bounds_hold_what_is_above_zero_and_no_more(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    share = np.zeros((6, 7), np.float32)
    share[slice(*rows), slice(*columns)] = 0.1
    assert bounds(share) == (slice(*rows), slice(*columns))


def test_bounds_of_nothing_are_empty() -> None:
    assert bounds(np.zeros((6, 7))) == (slice(0, 0), slice(0, 0))


@pytest.mark.parametrize(("values", "sigma"), [([1.0, 5.0], 0), ([7.0], 3)])
def test_there_is_nothing_to_smooth(values: list[float], sigma: float) -> None:
    assert smooth(np.array(values, np.float32), sigma).tolist() == values


def test_smoothing_repeats_the_ends() -> None:
    slope = smooth(np.arange(60, dtype=np.float32), 3)
    assert slope[20:40] == pytest.approx(np.arange(20, 40), abs=1e-3)
    assert 0 < slope[0] < 3 and 56 < slope[-1] < 59
