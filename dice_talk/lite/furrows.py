"""Furrows: the shadows between the brows in a frown, and across the bridge of a wrinkled nose."""

from dataclasses import dataclass

import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.glasses import wears_glasses

_BETWEEN = 0.42
"""Position of a frown line, as a share of the distance from the middle to the brow's inner end."""
_THIN, _LONG = 0.009, 0.032
"""Sigma in face heights across and along a line."""
_WRINKLES, _SLANT = (-0.010, 0.018), 0.55
"""Distance of the lines of a wrinkled nose below its root, in face heights, and their slope to both sides."""
_ASIDE, _SHORT = 0.020, 0.013
"""Face heights from the middle to a wrinkle, and sigma along it."""
_FAINT = 0.5
"""Depth of a wrinkle relative to a frown line."""
_DEPTH = 0.28
"""Share of the light that a line absorbs. Where skin is red, less of the red."""


@dataclass(frozen=True)
class Furrows:
    """A box of the canvas between the eyes, and the depth of the lines at each pixel, `(h, w)` in [0, 1]."""

    left: int
    top: int
    source: Pixels  # (h, w, 3)
    depth: Floats  # (3,) share of red, green and blue that the deepest line absorbs
    frown: Floats
    wrinkled: Floats


def make_furrows(canvas: Canvas) -> Furrows:
    """Place the furrows. There are none behind glasses, because they would appear on the bridge."""
    unit, point = canvas.unit, canvas.points
    (left, top), (right, bottom) = point[at.LEFT_BROW_LOWER[-1]], point[at.RIGHT_BROW_LOWER[0]]
    middle, brows = (left + right) / 2, (top + bottom) / 2
    root = float(point[at.BETWEEN_EYES, 1])
    columns = slice(max(int(left), 0), max(int(right), 0))
    rows = slice(max(int(brows - 3 * _LONG * unit), 0), max(int(root + 0.06 * unit), 0))
    source = canvas.pixels[rows, columns].copy()
    y, x = np.mgrid[rows.start : rows.start + len(source), columns.start : columns.start + source.shape[1]]
    x, y = ((x - middle) / unit).astype(np.float32), (y / unit).astype(np.float32)
    stand = _BETWEEN * float(right - left) / 2 / unit
    along = y - (brows + (root - brows) / 4) / unit
    apart = (np.abs(x) - stand + 0.25 * along) / _THIN  # the lines converge downwards
    frown = np.exp(-(apart * apart + (along / _LONG) ** 2) / 2)
    lines = [np.exp(-(((y - root / unit - below - _SLANT * np.abs(x)) / _THIN) ** 2) / 2) for below in _WRINKLES]
    wrinkled = _FAINT * np.sum(lines, axis=0) * np.exp(-(((np.abs(x) - _ASIDE) / _SHORT) ** 2) / 2)
    inside = np.clip((stand / _BETWEEN - np.abs(x)) / (0.3 * stand), 0, 1) * (not wears_glasses(canvas))
    skin = np.median(canvas.pixels_at_landmarks(at.PLAIN_SKIN), axis=0)
    depth = (_DEPTH * skin.mean() / np.maximum(skin, 1)).astype(np.float32)
    return Furrows(columns.start, rows.start, source, depth, frown * inside, wrinkled * inside)


def draw_furrows(furrows: Furrows, canvas: Pixels, frown: float, wrinkled: float) -> None:
    """Redraw the box of the canvas. Depths are in [0, 1]."""
    height, width = furrows.frown.shape
    depth = np.clip(frown * furrows.frown + wrinkled * furrows.wrinkled, 0, 1)
    target = canvas[furrows.top : furrows.top + height, furrows.left : furrows.left + width]
    target[:] = (furrows.source * (1 - depth[..., None] * furrows.depth) + 0.5).astype(np.uint8)
