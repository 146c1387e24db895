"""The inside of the mouth: the portrait's own teeth if they show, else drawn ones, lit like the portrait.

Upper teeth stay with the head; lower teeth and tongue move with the lower lip. Nothing swims.
"""

from dataclasses import dataclass

import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.curves import smoothstep

_TEETH = (0.34, 0.60, 0.80, 0.94)
"""Right edges of the upper front teeth from the midline, in half mouth widths (8.5, 6.5, 5 and 3.5 mm of 25 mm)."""
_LOWER_TEETH = (0.22, 0.45, 0.66, 0.8)
_SHOWN = 0.018
"""Face heights of upper teeth below the line of the closed lips."""
_LOWER_SHOWN = 0.010
_LOWER_SEEN = 0.6
"""Opacity of the lower teeth, which lie in the shadow of the lip."""
_BARED, _IN_SHADE = 0.022, 0.4
"""Face heights of the portrait's own teeth that show below lips that no longer smile, and the light that these take."""
OPEN = 0.015
"""Face heights between the lips above which a portrait shows its own teeth."""
_TYPICAL_SKIN = np.array([178.0, 138.0, 118.0], np.float32)
"""Skin under neutral light. Compared with the portrait's skin, it gives the colour of the light."""
_TOOTH = np.array([180.0, 167.0, 150.0], np.float32)
_CAVITY = np.array([46.0, 18.0, 18.0], np.float32)
_TONGUE = np.array([128.0, 60.0, 58.0], np.float32)


@dataclass(frozen=True)
class Interior:
    """Colours in the light of the portrait, and teeth as pictures that are moved instead of redrawn."""

    unit: float
    softness: float  # pixels over which edges are spread
    across: Floats  # (w,)
    teeth_edge: Floats  # (w,) lower edge of the upper teeth, pixels from the box's top
    teeth: Floats  # (w, 3) colour per column
    lower_rise: Floats  # (w,) pixels of lower teeth above the lower lip
    lower_teeth: Floats  # (w, 3)
    cavity: Floats  # (3,)
    tongue: Floats  # (3,)
    own: Floats | None  # (h, w, 3) the portrait's own teeth; None if its mouth is closed
    own_edge: tuple[Floats, Floats]


def make_interior(canvas: Canvas, source: Pixels, across: Floats, upper: Floats, lower: Floats) -> Interior:
    """Prepare the inside of a mouth. `source`: the mouth's box; `across`, `upper`, `lower`: see `Mouth`."""
    unit = canvas.unit
    light, colourful = _light(canvas)
    columns = np.abs(across)
    edge, shade = _row(columns, _TEETH, 0.003 * unit)
    shown = (_SHOWN * unit - edge) * np.clip(1 - 0.35 * columns**2, 0, 1)
    low_edge, low_shade = _row(columns, _LOWER_TEETH, 0.0025 * unit)
    rise = (_LOWER_SHOWN * unit - low_edge) * np.clip(1.2 - 1.2 * columns**2, 0, 1)
    gap = float((lower - upper).max()) / unit
    return Interior(
        unit=unit,
        softness=canvas.softness,
        across=across,
        teeth_edge=(upper + shown).astype(np.float32, copy=False),
        teeth=shade[:, None] * _toned(_TOOTH, colourful) * light,
        lower_rise=rise.astype(np.float32, copy=False),
        lower_teeth=0.62 * low_shade[:, None] * _toned(_TOOTH, colourful) * light,
        cavity=_toned(_CAVITY, colourful) * light,
        tongue=_toned(_TONGUE, colourful) * light,
        own=source.astype(np.float32) if gap > OPEN else None,
        own_edge=(upper + 0.004 * unit, lower - 0.006 * unit),
    )


def paint(
    interior: Interior, target: Pixels, upper: Floats, lower: Floats, tongue: float, covered: float = 0.0
) -> None:
    """Fill the space between the lip edges `upper` and `lower (w,)` in the mouth's box.

    `covered`: how far lips that no longer smile cover the portrait's own teeth, in [0, 1].
    """
    first, last = max(int(upper.min()) - 1, 0), min(int(lower.max()) + 2, len(target))
    columns = np.flatnonzero(lower - upper > 0.05)
    if not len(columns) or last <= first:
        return
    part = slice(columns[0], columns[-1] + 1)
    y = np.arange(first, last, dtype=np.float32)[:, None]
    top, bottom = upper[part], lower[part]
    colour = _layers(interior, part, y, top, bottom, tongue, covered)
    soft = interior.softness
    inside = np.clip((y - top) / soft + 0.5, 0, 1) * np.clip((bottom - y) / soft + 0.5, 0, 1)
    inside *= np.clip((bottom - top) / soft, 0, 1)
    area = target[first:last, part]
    area[:] = (area + (colour - area) * inside[..., None] + 0.5).astype(np.uint8)


def _layers(
    interior: Interior, part: slice, y: Floats, top: Floats, bottom: Floats, tongue: float, covered: float
) -> Floats:
    """Return cavity, tongue, lower teeth and upper teeth, painted from back to front, `(h, w, 3)`."""
    unit, across = interior.unit, interior.across[part]
    colour = np.broadcast_to(interior.cavity, (len(y), len(across), 3)).copy()
    deep = float((bottom - top).max())
    hill = np.clip(1 - (across / 0.72) ** 2, 0, 1) * ((0.02 + 0.022 * tongue) * unit + 0.2 * deep)
    _over(colour, interior.tongue, np.clip((y - bottom + hill) / (0.014 * unit), 0, 1))
    rise = interior.lower_rise[part]
    seen = np.float32(_LOWER_SEEN) * np.clip((y - bottom.max() + rise) / interior.softness + 0.5, 0, 1)
    _over(colour, interior.lower_teeth[part], seen)
    if interior.own is None:
        _over(colour, interior.teeth[part], np.clip((interior.teeth_edge[part] - y) / interior.softness + 0.5, 0, 1))
    colour *= _shadow(interior, y, top, bottom)[..., None]
    if interior.own is not None:  # they are already shaded in the portrait
        first, last = (edge[part] for edge in interior.own_edge)
        rows = np.clip(y, first, np.maximum(first, last)).astype(np.intp)
        inner = np.clip((0.97 - np.abs(across)) / 0.12, 0, 1)  # in the corners, the landmarks mistake lip for teeth
        own = interior.own[:, part][rows, np.arange(len(across))]
        short = np.minimum(last, top + np.float32(_BARED * unit) * (1 - np.float32(0.35) * across**2))
        ends = last + (short - last) * np.float32(covered)
        own *= (1 - np.float32(_IN_SHADE * covered) * np.clip(np.abs(across) + 0.35, 0, 1))[:, None]
        _over(colour, own, np.clip((ends - y) / (0.005 * unit) + 0.5, 0, 1) * np.clip(last - first, 0, 1) * inner)
    return colour


def _over(colour: Floats, layer: Floats, alpha: Floats) -> None:
    colour += (layer - colour) * alpha[..., None]


def _shadow(interior: Interior, y: Floats, top: Floats, bottom: Floats) -> Floats:
    """Return the shading: darker under the upper lip and towards the corners."""
    under = 0.62 + 0.38 * np.clip((y - top) / (0.016 * interior.unit), 0, 1)
    narrow = np.clip((bottom - top) / (0.02 * interior.unit), 0, 1)
    shadow: Floats = under * (0.45 + 0.55 * narrow)
    return shadow


def _row(columns: Floats, edges: tuple[float, ...], rounding: float) -> tuple[Floats, Floats]:
    """Return how far each column of a row of teeth falls short of the edge, in pixels, and its brightness in [0, 1].

    `columns`: 0 at the midline, 1 at the corner of the mouth.
    """
    borders = np.array((0.0, *edges), np.float32)
    tooth = np.clip(np.searchsorted(borders, columns, side="right") - 1, 0, len(edges) - 1)
    left, right = borders[tooth], borders[tooth + 1]
    inside = np.clip((columns - left) / (right - left) * 2 - 1, -1, 1)
    short = rounding * inside**4
    seam = 1 - 0.16 * np.abs(inside) ** 6
    brightness = seam * (1 - smoothstep((columns - 0.3) / 0.65, 0.85))
    return short.astype(np.float32), brightness.astype(np.float32)


def _light(canvas: Canvas) -> tuple[Floats, float]:
    """Return the colour of the light on the face, `(3,)`, and the saturation of the skin.

    The colour is 1 where typical skin looks as under neutral light. The saturation is 0 for marble and black-and-white
    photos, 1 for typical skin. Only half of the tint is used, because skin itself differs in colour.
    """
    spots = (at.LEFT_JOWL, at.RIGHT_JOWL, at.LEFT_CHEEK, at.RIGHT_CHEEK)
    skin = np.median(np.concatenate([_patch(canvas, canvas.points[i]) for i in spots]), axis=0)
    level = float(np.clip(skin.mean() / _TYPICAL_SKIN.mean(), 0.3, 1.2))
    relative, typical = skin / max(skin.mean(), 1), _TYPICAL_SKIN / _TYPICAL_SKIN.mean()
    colourful = float(np.clip(np.ptp(relative) / np.ptp(typical), 0, 1))
    tint = np.sqrt(relative / _toned(typical, colourful))
    return (level * tint / tint.mean()).astype(np.float32), colourful


def _toned(colour: Floats, colourful: float) -> Floats:
    toned: Floats = colour.mean() + (colour - colour.mean()) * np.float32(colourful)
    return toned


def _patch(canvas: Canvas, centre: Floats) -> Floats:
    radius = max(int(0.03 * canvas.unit), 2)
    x, y = (int(v) for v in centre)
    height, width = canvas.pixels.shape[:2]
    x, y = min(max(x, radius), width - radius - 1), min(max(y, radius), height - radius - 1)
    patch: Floats = canvas.pixels[y - radius : y + radius, x - radius : x + radius].reshape(-1, 3).astype(np.float32)
    return patch
