"""The mouth: two lips that part along the portrait's own lip line, and what shows between them."""

from dataclasses import dataclass

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.curves import contour, fade, smooth, smoothstep
from dice_talk.lite.interior import OPEN, Interior, make_interior, paint

_SIDE, _ABOVE, _BELOW = 0.06, 0.16, 0.34
"""Face heights by which the redrawn box extends beyond the mouth: to the sides, above and below the lip line."""
_UPPER_SHARE = 0.18
"""Share of the opening by which the upper lip rises. The lower lip moves by the rest."""
_MEETING, _LOWERED = 0.35, 0.4
"""Where the lips of an open mouth meet: share of its opening from above, and the most that the upper lip comes down, as
a share of the skin below the nose. Beyond it, this skin would fold and show the lip twice.
"""
_RAISED = 2.3
"""Length of the skin that gives way below a closing lip, relative to the lip's way. With less, beard and pores would be
drawn out to streaks. If the mouth is wide open, the skin extends beyond the chin, and closing it moves the jaw.
"""
_WIDE_OPEN = 0.1
"""Opening in face heights beyond which the box is enlarged to contain this skin."""
_SMOOTH = 0.008
"""Sigma in face heights by which the corners of the landmarks' contour are rounded."""
_DARK, _DARK_REACH = 0.5, 0.024
"""Lightness relative to skin below which a pixel belongs to the inside of an open mouth, and the face heights that the
inside may extend beyond the landmarks, which cut off its corners.
"""
_INSET = 0.004
"""Face heights at the edge of an open mouth's lips that blur has mixed with teeth. They are left to the inside."""
_OUTER_SHARE = 0.85
"""Share of the opening at the outer edge of the lower lip, whose curve is wider than the inner edge's: lips stretch
over teeth.
"""
_SEAM, _SEAM_GAP = 0.004, 0.012
"""Sigma in face heights of the shadow between lips that were apart in the portrait and so have no line where they meet,
and the opening at which it disappears.
"""
_SEAM_DEPTH = np.array([0.30, 0.42, 0.42], np.float32)
"""Depth of the shadow in red, green and blue. It is reddish, because light shines through lips."""
_MEETING_SMOOTH = 0.02
"""Sigma in face heights by which the line where the lips meet is smoothed."""
_ASIDE, _HIDDEN = (0.9, 1.4), 0.6
"""`Canvas.turn` between which the far corner of the mouth disappears behind the lips, and how far it is then moved to
the middle. At the mesh's guess, the mouth would open into the background.
"""
_NARROW = (0.72, 0.045)
"""Share of the mouth's width that parts when it barely opens, and the opening in face heights at which all of it does.
"""


@dataclass(frozen=True)
class Mouth:
    """A box of the canvas and the lips in it. Arrays `(w,)` have a value per column, in pixels from the box's top."""

    left: int
    top: int
    source: Pixels  # (h, w, 3)
    unit: float
    across: Floats  # -1 at the left corner, 0 in the middle, 1 at the right corner
    upper: Floats  # inner edge of the upper lip in the portrait
    lower: Floats
    meeting: Floats  # where the lips touch
    upper_lip: float  # thickness in pixels
    lower_lip: float
    above: float  # pixels from the upper lip to the nose, over which skin gives way
    below: float  # pixels from the lower lip to the chin
    interior: Interior

    @property
    def rest(self) -> float:
        """The portrait's own opening in face heights."""
        return float((self.lower - self.upper).max()) / self.unit


def make_mouth(canvas: Canvas) -> Mouth:
    """Find the lips of a portrait's mouth and prepare its inside."""
    unit, point = canvas.unit, canvas.points
    left_corner, right_corner = _corners(canvas)
    seam = float(point[[at.INNER_LIP_TOP, at.INNER_LIP_BOTTOM], 1].mean())
    height, width = canvas.pixels.shape[:2]
    left = max(int(point[at.LEFT_CORNER, 0] - _SIDE * unit), 0)
    right = min(int(point[at.RIGHT_CORNER, 0] + _SIDE * unit), width)
    wide = max(float(point[at.INNER_LIP_BOTTOM, 1] - point[at.INNER_LIP_TOP, 1]) - _WIDE_OPEN * unit, 0)
    top, bottom = max(int(seam - _ABOVE * unit), 0), min(int(seam + _BELOW * unit + 2 * wide), height)
    x = np.arange(left, right, dtype=np.float32)
    offset = np.array([0, top], np.float32)
    upper = contour(point[[*at.INNER_LIP_UPPER]] - offset, x, _SMOOTH * unit)
    lower = contour(point[[*at.INNER_LIP_LOWER]] - offset, x, _SMOOTH * unit)
    lower = np.maximum(lower, upper)
    middle = float(point[[at.INNER_LIP_TOP, at.INNER_LIP_BOTTOM], 0].mean())
    across = np.where(
        x < middle,
        (x - middle) / max(middle - left_corner, 1),
        (x - middle) / max(right_corner - middle, 1),
    ).astype(np.float32)
    source = canvas.pixels[top:bottom, left:right].copy()
    if (lower - upper).max() > OPEN * unit:
        upper, lower = _extend_over_dark(canvas, source, upper, lower)
    upper_lip = max(float(point[at.INNER_LIP_TOP, 1] - point[at.LIP_TOP, 1]), 0.015 * unit)
    lower_lip = max(float(point[at.LIP_BOTTOM, 1] - point[at.INNER_LIP_BOTTOM, 1]), 0.02 * unit)
    above = max(float(point[at.LIP_TOP, 1] - point[at.NOSE_BASE, 1]), 0.04 * unit)
    below = max(float(point[at.CHIN, 1] - point[at.LIP_BOTTOM, 1]) * 0.9, 0.08 * unit)
    opening = lower - upper
    share = min(_MEETING, _LOWERED * above / max(float(opening.max()), 1))
    meeting = smooth(upper + np.float32(share) * opening, _MEETING_SMOOTH * unit)
    return Mouth(
        left=left,
        top=top,
        source=source,
        unit=unit,
        across=across,
        upper=upper,
        lower=lower,
        meeting=meeting,
        upper_lip=upper_lip,
        lower_lip=lower_lip,
        above=above,
        below=max(below, _RAISED * float((lower - meeting).max())),
        interior=make_interior(canvas, source, across, upper, lower),
    )


def _corners(canvas: Canvas) -> tuple[float, float]:
    """Return the columns of the visible inner corners."""
    left, right = (float(canvas.points[i, 0]) for i in (at.LEFT_INNER_CORNER, at.RIGHT_INNER_CORNER))
    middle = float(canvas.points[[at.INNER_LIP_TOP, at.INNER_LIP_BOTTOM], 0].mean())
    first, last = _ASIDE
    hidden = _HIDDEN * min(max((canvas.turn - first) / (last - first), 0.0), 1.0)
    if middle - left < right - middle:
        return left + hidden * (middle - left), right
    return left, right - hidden * (right - middle)


def _extend_over_dark(canvas: Canvas, source: Pixels, upper: Floats, lower: Floats) -> tuple[Floats, Floats]:
    """Move the edges of an open mouth over pixels as dark as its inside, which would remain between shut lips."""
    light = source.max(axis=2)
    reach = round(_DARK_REACH * canvas.unit)
    dark = light < _DARK * np.median(light)
    columns = np.arange(source.shape[1])

    def more(edge: Floats, step: int) -> Floats:
        rows = edge.round().astype(np.intp) + step * np.arange(reach + 1)[:, None]
        run = dark[rows.clip(0, len(source) - 1), columns].cumprod(axis=0).sum(axis=0)
        return smooth(np.where(run > reach, 0, run).astype(np.float32), _SMOOTH * canvas.unit)

    inset = np.minimum(np.float32(_INSET * canvas.unit), (lower - upper) / 4)
    return upper - more(upper, -1) - inset, lower + more(lower, 1) + inset


def lip_edges(mouth: Mouth, gap: float) -> tuple[Floats, Floats]:
    """Return the inner edges of lips parted by `gap` face heights, `(w,)` pixels from the top of the box."""
    start, full = _NARROW
    width = start + (1 - start) * min(gap / full, 1.0)
    arch = np.maximum(1 - np.abs(mouth.across / width) ** 2.4, 0) ** 0.8 * np.float32(gap * mouth.unit)
    upper, lower = mouth.meeting - _UPPER_SHARE * arch, mouth.meeting + (1 - _UPPER_SHARE) * arch
    return upper.astype(np.float32, copy=False), lower.astype(np.float32, copy=False)


def draw_mouth(mouth: Mouth, canvas: Pixels, gap: float, tongue: float, covered: float = 0.0) -> None:
    """Redraw the mouth's box of the canvas.

    `gap`: opening in face heights; `tongue`: 0 flat to 1 raised; `covered`: see `interior.paint`.
    """
    upper, lower = lip_edges(mouth, gap)
    height, width = mouth.source.shape[:2]
    middle = (upper + lower) * np.float32(0.5)
    first, last = max(int(middle.min()), 0), int(middle.max()) + 1  # between these rows both lips have pixels
    y = np.arange(height, dtype=np.float32)[:, None]
    over, under = y[:last], y[first:]
    rows = np.empty((height, width), np.float32)
    rows[first:] = under - _lowered(mouth, under - lower, lower - mouth.lower, gap) * fade(
        under - lower, mouth.lower_lip, mouth.below
    )
    up = over - (upper - mouth.upper) * fade(upper - over, mouth.upper_lip, mouth.above)
    np.copyto(rows[:last], up, where=over < middle)
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), rows.shape)
    target = canvas[mouth.top : mouth.top + height, mouth.left : mouth.left + width]
    target[:] = cv2.remap(mouth.source, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if mouth.rest > OPEN and gap < _SEAM_GAP:
        _shade_seam(mouth, target, middle, 1 - gap / _SEAM_GAP)
    if gap > 0:
        paint(mouth.interior, target, upper, lower, tongue, covered)


def _lowered(mouth: Mouth, distance: Floats, inner: Floats, gap: float) -> Floats:
    """Return how far the lower lip moves down, `(h, w)`, `distance` below its edge, which moves by `inner (w,)`."""
    wide = np.exp(-(np.abs(mouth.across / 0.97) ** 4)) * np.float32(
        gap * mouth.unit * (1 - _UPPER_SHARE) * _OUTER_SHARE
    )
    outer = wide + np.minimum(mouth.meeting - mouth.lower, 0)
    way: Floats = inner + smoothstep(distance / mouth.lower_lip, outer - inner)
    return way


def _shade_seam(mouth: Mouth, target: Pixels, seam: Floats, strength: float) -> None:
    sigma = _SEAM * mouth.unit
    first = max(int(seam.min() - 4 * sigma), 0)
    last = int(seam.max() + 4 * sigma) + 1
    y = np.arange(first, min(last, len(target)), dtype=np.float32)[:, None]
    line = np.exp(-(((y - seam) / sigma) ** 2)) * np.clip(1.05 - mouth.across**4, 0, 1)
    area = target[first : first + len(y)]
    area[:] = (area * (1 - np.float32(strength) * line[..., None] * _SEAM_DEPTH)).astype(np.uint8)
