"""Finds the eyes of a portrait: their edges, the skin around them and its colours. `lids` moves them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.curves import contour, smooth
from dice_talk.lite.glasses import coloured_rim, dark_lenses

_SIDE, _BELOW = 0.03, 0.07
"""Face heights by which the box extends beyond the eye to the sides and below. Above, it ends at the brow."""
LASHES = 0.010
"""Face heights along the edge of the lid that move rigidly: the lashes."""
_SMOOTH = 0.006
_SHUT = 0.10
"""Ratio of opening to width below which an eye in the portrait is considered shut."""
OVER_CREASE = 0.018
"""Face heights by which this skin extends above the crease when the lid is down. A hint of the crease remains."""
_PLAIN_SHARE = 0.5
"""Share of the pixels around the eye, the lightest ones, that are considered plain skin."""
_PLAIN_OVER = 0.75
"""Quantile of the lightness above the crease that is considered the skin's. Lids are often painted dark."""
_LID_LIGHT = (0.84, 1.05)
"""Limits of the lid's lightness relative to that skin, because a brow or a highlight may lie where it is measured."""
_SHADE_HUE = 1.6
"""Factor on the saturation of skin in the shade. Marble, which has none, stays as it is."""
_LID_BELOW = 0.3
"""Share of the lightness below the eye in the lid's lightness at its lashes."""
_GROWTH = (1.0, 1.15, 1.3, 1.5, 1.75)
"""Factors by which the landmarks' contour is enlarged until no white of the eye shows around it, as for large drawn
eyes.
"""
_DARK = 0.7
"""A pixel darker than this share of the lightest skin below it is not skin."""
_MOST_TURN = 1.1
"""`Canvas.turn` above which the far eye lies on the outline of the face, where a moving lid would tear it."""
_WHITE = 1.18, 0.04
"""Lightness of the white of an eye relative to skin (darkest channel), and the largest tolerated share of such pixels.
"""
_OFF_WHITE = 0.75
"""Share of the way from skin to full white. Replaces the factor above if the skin is so pale that it would exceed
white.
"""


@dataclass(frozen=True)
class Eye:
    """A box of the canvas and the eye in it. Arrays `(w,)` have a value per column, in pixels from the box's top."""

    left: int
    top: int
    source: Pixels  # (h, w, 3)
    unit: float
    softness: float  # pixels over which edges are spread
    upper: Floats  # edge of the upper lid in the portrait
    lower: Floats
    crease: Floats  # the fold of the upper lid
    bow: Floats  # 0 in the corners, 1 in the middle: how a lid's edge moves
    above: float  # pixels of skin between lashes and brow
    lid: Floats  # (2, w, 3) colour of lid skin at its fold and at its lashes
    iris: tuple[float, float]  # centre in the box
    spread: float  # pixels; how much of the eye turns with the iris
    still: bool  # shut, hidden, or drawn so that the landmarks don't fit: it is not animated


def make_eye(
    canvas: Canvas,
    upper: Sequence[int],
    lower: Sequence[int],
    brow: Sequence[int],
    crease: Sequence[int],
    iris: Sequence[int],
) -> Eye:
    """Find the box, edges and colours of one eye. The arguments after `canvas` are its landmarks."""
    unit = canvas.unit
    fit = fit_eye(canvas, upper, lower)
    point = canvas.points if fit is None else fit
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
    fold = np.minimum(contour(point[[*crease]] - offset, x, _SMOOTH * unit), top_edge)
    along = np.clip((x - low[0]) / (high[0] - low[0]) * 2 - 1, -1, 1)
    centre = point[[*iris]].mean(0) - (left, top)
    bow = np.clip(1 - along**2, 0, 1) ** 0.6
    source = canvas.pixels[top:bottom, left:right].copy()
    above = _free_skin(source, top_edge, bow, max(float(low[1] - brow_line) - LASHES * unit, 0.02 * unit), unit)
    return Eye(
        left=left,
        top=top,
        source=source,
        unit=unit,
        softness=canvas.softness,
        upper=top_edge,
        lower=low_edge,
        crease=fold,
        bow=bow,
        above=above,
        lid=_lid_colour(source, top_edge, low_edge, fold, above, unit),
        iris=(float(centre[0]), float(centre[1])),
        spread=float(high[0] - low[0]) * 0.26,
        still=fit is None or float((low_edge - top_edge).max()) < _SHUT * float(high[0] - low[0]),
    )


def fit_eye(canvas: Canvas, upper: Sequence[int], lower: Sequence[int]) -> Floats | None:
    """Return all landmarks, with those of the eye moved outwards until they enclose it, or None if they cannot."""
    rim = [*upper, *lower]
    centre = canvas.points[rim].mean(0)
    skin = np.median(canvas.pixels_at_landmarks(at.PLAIN_SKIN).min(axis=1))
    white = min(_WHITE[0] * skin + 12, skin + _OFF_WHITE * (255 - skin))
    for growth in _GROWTH:
        points = canvas.points.copy()
        points[rim] = centre + (points[rim] - centre) * growth
        rings = [_on_ring(canvas, points[rim], wider) > white for wider in (0.95, 1.0, 1.05, 1.15, 1.25)]
        out = np.logical_and.reduce(rings[:3])  # from the eyeball outwards: a shine on the skin is not the eye's white
        if np.mean([out & rings[3], out & rings[4]]) <= _WHITE[1]:
            return points
    return None


def _on_ring(canvas: Canvas, rim: Floats, size: float) -> NDArray[np.uint8]:
    """Return the darkest channel along a contour that is scaled by `size` about its middle."""
    centre = rim.mean(0)
    ring = centre + (rim - centre) * size
    found: NDArray[np.uint8] = canvas.pixels_at(
        np.concatenate([ring, (ring + np.roll(ring, 1, axis=0)) / 2]).round()
    ).min(axis=1)
    return found


def _free_skin(source: Pixels, upper: Floats, bow: Floats, above: float, unit: float) -> float:
    """Return the pixels of free skin above the lashes, at most `above`.

    It ends at the next dark thing, such as a brow or the rim of glasses, which must not come down with the lid.
    """
    columns = np.flatnonzero(bow > 0.5)
    lightest = 0.0
    for distance in np.arange(LASHES * unit, above + LASHES * unit):
        light = float(np.median(_rows(source, (upper - distance)[None])[0, columns].max(axis=1)))
        if light < _DARK * lightest:
            return max(float(distance) - (LASHES + 0.004) * unit, 0.012 * unit)
        lightest = max(lightest, light)
    return above


def _lid_colour(source: Pixels, upper: Floats, lower: Floats, crease: Floats, above: float, unit: float) -> Floats:
    """Return the colour of plain lid skin per column, at the fold and at the lashes, `(2, w, 3)`.

    It is as light as the skin above the crease, which it continues, and approaches the lightness below the eye towards
    the lashes. Its hue is that of the lightest skin around the eye, because brows, lashes and make-up have other hues.
    """
    y = np.arange(len(source), dtype=np.float32)[:, None]
    around = source[(y < upper - LASHES * unit) | (y > lower + LASHES * unit)].astype(np.float32)
    plain = around.mean(axis=1)
    skin = np.median(around[plain >= np.quantile(plain, 1 - _PLAIN_SHARE)], axis=0)
    usual = float(skin.mean())
    begins = np.maximum(crease - OVER_CREASE * unit, upper - 0.8 * (above + LASHES * unit))
    over = _rows(source, begins + np.linspace(-0.025, 0.005, 7, dtype=np.float32)[:, None] * unit)
    over = np.quantile(over, _PLAIN_OVER, axis=0)
    under = np.median(_rows(source, lower + np.linspace(0.02, 0.05, 5, dtype=np.float32)[:, None] * unit), axis=0)
    top, below = (np.clip(part.mean(axis=1) / max(usual, 1), *_LID_LIGHT) for part in (over, under))
    top = smooth(top.astype(np.float32), 0.03 * unit)
    light = np.stack([top, top + (np.median(below) - top) * _LID_BELOW])[..., None]
    deeper = 1 + _SHADE_HUE * (1 - light)
    colour: Floats = (light * usual * (skin / max(usual, 1)) ** deeper).astype(np.float32)
    return colour


def _rows(source: Pixels, rows: Floats) -> Floats:
    """Return the pixels at `rows (n, w)` of every column, `(n, w, 3)`."""
    inside = np.clip(rows, 0, len(source) - 1).astype(np.intp)
    pixels: Floats = source[inside, np.arange(source.shape[1])].astype(np.float32)
    return pixels


def make_eyes(canvas: Canvas) -> tuple[Eye, Eye]:
    """Return the left and the right eye. If one of them cannot be animated, neither is, so that nobody winks."""
    left = make_eye(canvas, at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER, at.LEFT_BROW_LOWER, at.LEFT_CREASE, at.LEFT_IRIS)
    right = make_eye(
        canvas, at.RIGHT_EYE_UPPER, at.RIGHT_EYE_LOWER, at.RIGHT_BROW_LOWER, at.RIGHT_CREASE, at.RIGHT_IRIS
    )
    hidden = dark_lenses(canvas) or coloured_rim(canvas)
    still = left.still or right.still or hidden or canvas.turn > _MOST_TURN
    return replace(left, still=still), replace(right, still=still)
