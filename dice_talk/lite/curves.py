"""Smooth steps, and contours as one height per pixel column, which lets lips and lids part and meet exactly."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dice_talk.lite.arrays import Floats

Real = TypeVar("Real", bound=np.floating[Any])


def contour(points: Floats, x: Floats, sigma: float) -> Floats:
    """Return the height of a polyline at columns `x (w,)`, smoothed over `sigma` pixels and flat beyond its ends."""
    order = np.argsort(points[:, 0], kind="stable")
    heights = np.interp(x, points[order, 0], points[order, 1])
    return smooth(heights.astype(np.float32), sigma)


def smooth(values: Floats, sigma: float) -> Floats:
    """Smooth `values (n,)` with a Gaussian. The ends are repeated."""
    if sigma <= 0 or len(values) < 2:
        return values
    radius = max(1, int(3 * sigma))
    kernel = np.exp(-((np.arange(-radius, radius + 1) / sigma) ** 2) / 2)
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)


def fade(distance: Floats, rigid: Floats | float, length: Floats | float) -> Floats:
    """Return how far skin follows a moving edge: 1 up to `rigid` pixels from it, smoothly 0 at `rigid + length`."""
    follow: Floats = 1 - smoothstep((distance - rigid) / length)
    return follow


def smoothstep(x: NDArray[Real], height: Floats | float = 1.0) -> NDArray[Real]:
    """Return a step that rises smoothly from 0, where `x` is at most 0, to `height`, where `x` is at least 1."""
    t = np.clip(x, 0, 1)
    step: NDArray[Real] = height * t * t * (3 - 2 * t)
    return step


def limited(values: Floats, knee: float, room: float) -> Floats:
    """Return `values` up to `knee`. Above it they approach, but never reach, `knee + room`."""
    over = np.maximum(values - knee, 0)
    soft: Floats = np.minimum(values, knee) + np.float32(room) * (1 - np.exp(-over / np.float32(room)))
    return soft


def bounds(share: NDArray[Any]) -> tuple[slice, slice]:
    """Return the rows and columns that contain all values above zero in `(h, w)`. Both are empty if there are none."""
    rows, columns = np.flatnonzero(share.max(axis=1)), np.flatnonzero(share.max(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
