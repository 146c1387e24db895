from dataclasses import replace

import numpy as np
import pytest

from dice_talk.lite.canvas import Canvas
from dice_talk.lite.grid import Grid, make_grid


def test_nodes_are_evenly_spaced_and_counted_from_the_corner(grid: Grid) -> None:
    assert grid.x[0, 0] == grid.y[0, 0] == 0
    assert np.diff(grid.x, axis=1) == pytest.approx(grid.step, abs=1e-4)
    assert np.diff(grid.y, axis=0) == pytest.approx(grid.step, abs=1e-4)
    assert np.ptp(grid.x, axis=0).max() == np.ptp(grid.y, axis=1).max() == 0


def test_the_grid_covers_the_canvas_and_hardly_more(face: Canvas, grid: Grid) -> None:
    height, width = face.pixels.shape[:2]
    assert width <= grid.x.max() < width + 2 * grid.step
    assert height <= grid.y.max() < height + 2 * grid.step


def test_it_is_as_fine_as_the_face_is_large(face: Canvas, grid: Grid) -> None:
    assert grid.step == pytest.approx(face.unit / 72)
    assert make_grid(replace(face, unit=2 * face.unit)).step == pytest.approx(2 * grid.step)
