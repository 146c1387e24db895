"""A coarse grid over the canvas for everything that varies smoothly."""

from dataclasses import dataclass

import numpy as np

from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas

_NODES_PER_UNIT = 72
"""Grid nodes per face height. The narrowest field is 1.5 nodes wide."""


@dataclass(frozen=True)
class Grid:
    """Node (i, j) lies at canvas pixel (j * step, i * step)."""

    step: float
    x: Floats  # (h, w) canvas pixels
    y: Floats


def make_grid(canvas: Canvas) -> Grid:
    """Return the grid for fields and weights."""
    step = canvas.unit / _NODES_PER_UNIT
    height, width = canvas.pixels.shape[:2]
    x, y = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
    return Grid(step, x.astype(np.float32), y.astype(np.float32))
