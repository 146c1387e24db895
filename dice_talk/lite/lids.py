"""Draws the eyes: lids that slide over the eyeball, and an eyeball that turns slightly beneath them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.arrays import Floats
from dice_talk.lite.curves import bounds, fade, smoothstep
from dice_talk.lite.eyes import LASHES, OVER_CREASE, Eye

_UPPER_SHARE = 0.88
"""Share of the opening that the upper lid covers in a blink. The lower lid covers the rest."""
_SHADE = 0.014
"""Face heights of the soft shadow that a lowered lid casts on the eyeball."""
_WIDEST = 0.30
"""Share of its opening by which an eye may open further. Beyond it, a stretched iris would no longer look round."""
_FOLD = 0.008
"""Face heights above the edge of the open lid at which the skin that unfolds in a blink begins."""
_UNFOLDS = (0.25, 0.85)
"""Part of the lid's way down, as shares, in which its crease disappears."""
_TUCK = 0.006
"""Face heights of the lower lid's wet edge that the lashes hide when the lids meet."""
_LID_SHARE = 0.80
"""Share of plain lid skin in what unfolds in a blink. The rest is the portrait's own skin, stretched, which alone would
show lashes and make-up as streaks.
"""
_CREASE, _CREASE_DEPTH = 0.006, 0.10
"""Width in face heights of what remains of the lid's crease when it is down, and its depth."""
_UNMOVED = 0.003
"""Face heights that a lid may be lowered before it counts as unfolded."""
_CORNER = 0.7
"""Height of the lid's motion, relative to its middle, from which on unfolded skin shows fully. It fades towards the
corners.
"""


@dataclass(frozen=True)
class Lids:
    """An eye's lids in one position. Where the eyeball shows, a pixel is `over + light * eyeball`, rounded down."""

    skin: Pixels  # (h, w, 3) the eye's box without the eyeball
    part: tuple[slice, slice]  # rows and columns of the box where the eyeball shows
    upper: Floats  # (c,) edge of the upper lid in these columns, in pixels from the box's top
    over: Floats  # (r, c, 3) the lids' share of the light, plus half a step for rounding
    light: Floats  # (r, c, 3) the eyeball's share, equal in all channels because broadcasting over three is slow


def place_lids(eye: Eye, shut: float, raised: float, squint: float) -> Lids:
    """Place the lids.

    `shut`: 0 as in the portrait to 1 closed. `raised`: upper lid upwards, in face heights. `squint`: lower lid upwards,
    in face heights.
    """
    upper, lower = lid_edges(eye, shut, raised, squint)
    height, width = eye.source.shape[:2]
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width))
    above = y - (upper - eye.upper) * fade(upper - y, LASHES * eye.unit, eye.above + np.maximum(upper - eye.upper, 0))
    tucked: Floats = eye.bow * np.float32(shut * shut * _TUCK * eye.unit)
    risen: Floats = lower - eye.lower - tucked
    below = y - risen * fade(y - lower, 0.006 * eye.unit, 0.06 * eye.unit)
    soft = eye.softness
    skin = _joined(eye, x, above, below, np.clip(((upper + lower) / 2 - y) / soft + 0.5, 0, 1))
    skin = _unfolded(eye, skin, y, upper)
    seen = np.clip((y - upper) / soft + 0.5, 0, 1) * np.clip((lower - y) / soft + 0.5, 0, 1)
    seen = seen * np.clip((lower - upper) / soft, 0, 1)
    shade = 0.25 * np.clip((upper - eye.upper) / (0.02 * eye.unit), 0, 1)
    light = seen * (1 - shade * np.clip(1 - (y - upper) / (_SHADE * eye.unit), 0, 1))
    part = bounds(seen)
    return Lids(
        skin=(skin + 0.5).astype(np.uint8),
        part=part,
        upper=upper[part[1]],
        over=(skin * (1 - seen[..., None]))[part] + np.float32(0.5),
        light=np.repeat(light[part][..., None], 3, axis=-1),
    )


def draw_eye(eye: Eye, lids: Lids, canvas: Pixels, gaze: Sequence[float]) -> None:
    """Redraw the eye's box of the canvas. Do not call it for an eye that is `still`.

    `gaze`: shift of the iris in face heights.
    """
    height, width = eye.source.shape[:2]
    target = canvas[eye.top : eye.top + height, eye.left : eye.left + width]
    target[:] = lids.skin
    if lids.light.size:
        target[lids.part] = (lids.over + _eyeball(eye, lids, gaze) * lids.light).astype(np.uint8)


def _joined(eye: Eye, x: Floats, above: Floats, below: Floats, share: Floats) -> Floats:
    """Join the upper lid's skin (weighted by `share`) and the lower lid's. Their edge is as soft as the portrait."""
    over, under = (cv2.remap(eye.source, x, rows, cv2.INTER_LINEAR).astype(np.float32) for rows in (above, below))
    skin: Floats = under + (over - under) * share[..., None]
    return skin


def _unfolded(eye: Eye, skin: Floats, y: Floats, upper: Floats) -> Floats:
    """Add plain lid skin where a lowered lid has unfolded, gently shaded. The lashes stay the portrait's."""
    travel = upper - eye.upper
    if travel.max() < _UNMOVED * eye.unit:
        return skin
    soft = 0.012 * eye.unit
    way = np.clip(travel / np.maximum(_UPPER_SHARE * (eye.lower - eye.upper), 1), 0, 1)
    gone = np.clip((way - _UNFOLDS[0]) / (_UNFOLDS[1] - _UNFOLDS[0]), 0, 1)
    fold = eye.upper - _FOLD * eye.unit
    fold = fold + gone * np.minimum(eye.crease - OVER_CREASE * eye.unit - fold, 0)
    lashes = upper - LASHES * eye.unit * 0.8
    window = smoothstep((y - fold) / (soft * (1 + 2.5 * gone))) * np.clip((lashes - y) / soft, 0, 1)
    window = window * smoothstep(eye.bow / _CORNER)
    share = _LID_SHARE * window * np.clip((travel / eye.unit - _UNMOVED) / 0.02, 0, 1)
    across = np.clip((y - fold) / np.maximum(lashes - fold, 1), 0, 1)[..., None]
    rounded = (0.95 + 0.09 * 4 * across * (1 - across)) * (0.93 + 0.07 * eye.bow[:, None])
    line = np.exp(-(((y - eye.crease) / (_CREASE * eye.unit)) ** 2)) * gone
    rounded = rounded * (1 - _CREASE_DEPTH * line)[..., None]
    plain = (eye.lid[0] + (eye.lid[1] - eye.lid[0]) * across) * rounded
    lid: Floats = np.minimum(skin + (plain - skin) * share[..., None], 255)  # a lid can be lighter than white skin
    return lid


def lid_edges(eye: Eye, shut: float, raised: float, squint: float) -> tuple[Floats, Floats]:
    """Return the edges of the moved lids, `(w,)`. They meet but never cross."""
    opening = eye.lower - eye.upper
    lift = min(raised * eye.unit, _WIDEST * float(opening.max()))
    upper = eye.upper - np.float32(lift) * eye.bow
    lower = eye.lower - np.float32(squint * eye.unit) * eye.bow
    closing = eye.upper + _UPPER_SHARE * opening
    upper = upper + shut * (closing - upper)
    lower = lower + shut * (closing - lower)
    middle = (upper + lower) / 2
    return np.minimum(upper, middle).astype(np.float32), np.maximum(lower, middle).astype(np.float32)


def _eyeball(eye: Eye, lids: Lids, gaze: Sequence[float]) -> Pixels:
    """Return the portrait's eyeball, turned by `gaze`, `(r, c, 3)`.

    The iris moves as a whole. Under a raised lid, the upper half is stretched to fill the gap, most of all at its top.
    """
    rows, columns = lids.part
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    centre_x, centre_y = (np.float32(centre) for centre in eye.iris)
    near = (1 - smoothstep(np.abs(x - centre_x) / np.float32(eye.spread) - 1)) * np.float32(eye.unit)
    across = np.broadcast_to(x - np.float32(gaze[0]) * near, (len(y), len(x)))
    down = y - np.float32(gaze[1]) * near
    room = np.maximum(centre_y - eye.upper[columns], 1)
    wider = np.maximum(room + np.maximum(eye.upper[columns] - lids.upper, 0), 1)
    risen = np.clip((centre_y - down) / wider, 0, 1)
    down = down + (wider - room) * risen * risen
    ball: Pixels = cv2.remap(eye.source, across, down, cv2.INTER_LINEAR)
    return ball
