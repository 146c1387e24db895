"""The eyes: lids that slide over the eyeball, and an eyeball that turns a little beneath them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.canvas import Canvas, Floats
from dice_talk.lite.curves import contour, fade

_SIDE, _BELOW = 0.03, 0.07
"""Face heights by which the box exceeds the eye to the sides and below; above it ends at the brow."""
_LASHES = 0.010
"""Face heights along the lid's edge that move as one: the lashes."""
_UPPER_SHARE = 0.88
"""Of the opening, that the upper lid covers in a blink; the lower lid meets it."""
_SMOOTH = 0.006
_SHUT = 0.10
"""Opening over width below which an eye counts as closed in the portrait: it is left alone."""
_SHADE = 0.014
"""Face heights of the soft shadow that a lowered lid casts on the eyeball."""


@dataclass(frozen=True)
class Eye:
    """A box of the canvas and the eye in it. Arrays `(w,)` per column, in pixels from the box's top."""

    left: int
    top: int
    source: Pixels  # (h, w, 3)
    unit: float
    upper: Floats  # edge of the upper lid in the portrait
    lower: Floats
    bow: Floats  # 0 in the corners, 1 in the middle: how a lid's edge moves
    above: float  # pixels of skin between lashes and brow
    iris: tuple[float, float]  # centre in the box
    spread: float  # pixels; how much of the eye turns with the iris

    @property
    def closed(self) -> bool:
        """Whether the portrait's eye is shut."""
        return openness(self) < _SHUT


def openness(eye: Eye) -> float:
    """Opening over width."""
    return float((eye.lower - eye.upper).max()) / max(int((eye.bow > 0).sum()), 1)


def make_eye(
    canvas: Canvas, upper: Sequence[int], lower: Sequence[int], brow: Sequence[int], iris: Sequence[int]
) -> Eye:
    """`upper`, `lower`, `brow`, `iris`: landmarks of one eye."""
    unit, point = canvas.unit, canvas.points
    rim = point[[*upper, *lower]]
    height, width = canvas.pixels.shape[:2]
    low, high = rim.min(0), rim.max(0)
    brow_line = float(point[[*brow], 1].mean())
    left, right = max(int(low[0] - _SIDE * unit), 0), min(int(high[0] + _SIDE * unit), width)
    top = max(int(min(brow_line, low[1] - 0.03 * unit)), 0)
    bottom = min(int(high[1] + _BELOW * unit), height)
    x = np.arange(left, right, dtype=np.float32)
    offset = np.array([0, top], np.float32)
    top_edge = contour(point[[*upper]] - offset, x, _SMOOTH * unit)
    low_edge = np.maximum(contour(point[[*lower]] - offset, x, _SMOOTH * unit), top_edge)
    along = np.clip((x - low[0]) / (high[0] - low[0]) * 2 - 1, -1, 1)
    centre = point[[*iris]].mean(0) - (left, top)
    return Eye(
        left=left,
        top=top,
        source=canvas.pixels[top:bottom, left:right].copy(),
        unit=unit,
        upper=top_edge,
        lower=low_edge,
        bow=np.clip(1 - along**2, 0, 1) ** 0.6,
        above=max(float(low[1] - brow_line) - _LASHES * unit, 0.02 * unit),
        iris=(float(centre[0]), float(centre[1])),
        spread=float(high[0] - low[0]) * 0.26,
    )


def make_eyes(canvas: Canvas) -> tuple[Eye, Eye]:
    """Left and right eye of the picture."""
    return (
        make_eye(canvas, at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER, at.LEFT_BROW_LOWER, at.LEFT_IRIS),
        make_eye(canvas, at.RIGHT_EYE_UPPER, at.RIGHT_EYE_LOWER, at.RIGHT_BROW_LOWER, at.RIGHT_IRIS),
    )


def draw_eye(eye: Eye, canvas: Pixels, shut: float, raised: float, squint: float, gaze: tuple[float, float]) -> None:
    """Redraws the eye's box of the canvas.

    `shut`: 0 as in the portrait to 1 closed; `raised`: upper lid in face heights, negative lowers it; `squint`: lower
    lid up; `gaze`: shift of the iris in face heights.
    """
    if eye.closed:
        return
    upper, lower = lid_edges(eye, shut, raised, squint)
    height, width = eye.source.shape[:2]
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width))
    above = y - (upper - eye.upper) * fade(upper - y, _LASHES * eye.unit, eye.above + np.maximum(upper - eye.upper, 0))
    below = y - (lower - eye.lower) * fade(y - lower, 0.006 * eye.unit, 0.06 * eye.unit)
    skin = cv2.remap(eye.source, x, np.where(y < (upper + lower) / 2, above, below), cv2.INTER_LINEAR)
    seen = np.clip(y - upper + 0.5, 0, 1) * np.clip(lower - y + 0.5, 0, 1) * np.clip(lower - upper, 0, 1)
    ball = _eyeball(eye, x, y, upper, gaze)
    shade = 0.25 * np.clip((upper - eye.upper) / (0.02 * eye.unit), 0, 1)
    ball *= (1 - shade * np.clip(1 - (y - upper) / (_SHADE * eye.unit), 0, 1))[..., None]
    target = canvas[eye.top : eye.top + height, eye.left : eye.left + width]
    target[:] = (skin + (ball - skin) * seen[..., None] + 0.5).astype(np.uint8)


def lid_edges(eye: Eye, shut: float, raised: float, squint: float) -> tuple[Floats, Floats]:
    """Edges of the moved lids, `(w,)`; they meet, and never cross."""
    opening = eye.lower - eye.upper
    upper = eye.upper - np.float32(raised * eye.unit) * eye.bow
    lower = eye.lower - np.float32(squint * eye.unit) * eye.bow
    closing = eye.upper + _UPPER_SHARE * opening
    upper = upper + shut * (closing - upper)
    lower = lower + shut * (closing - lower)
    middle = (upper + lower) / 2
    return np.minimum(upper, middle).astype(np.float32), np.maximum(lower, middle).astype(np.float32)


def _eyeball(eye: Eye, x: Floats, y: Floats, upper: Floats, gaze: tuple[float, float]) -> Floats:
    """The portrait's eyeball, turned by `gaze`; under a raised lid its upper half stretches to fill the space."""
    centre_x, centre_y = eye.iris
    near = np.exp(-(((x - centre_x) / eye.spread) ** 2)) * eye.unit
    raised = np.minimum(upper, eye.upper)
    stretch = np.maximum(centre_y - eye.upper, 1) / np.maximum(centre_y - raised, 1)
    rows = np.where(y < centre_y, centre_y + (y - centre_y) * stretch, y) - np.float32(gaze[1]) * near
    return cv2.remap(eye.source, x - np.float32(gaze[0]) * near, rows, cv2.INTER_LINEAR).astype(np.float32)
