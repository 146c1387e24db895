"""Detects glasses: whatever lies in front of the eyes must not move like skin."""

import numpy as np

from dice_talk.lite import topology as at
from dice_talk.lite.canvas import Canvas

_BRIDGE = 0.66
"""The bridge of glasses is darker than this share of the lightness of the nose above and below it."""
_LENS = 0.35
"""Lightness below the eyes, as a share of the cheeks', under which there are dark lenses."""
_LASHES, _REACH = 0.01, 0.05
"""Face heights above the lids between which a coloured rim is searched."""
_FOREIGN_HUE, _AS_LIGHT = 0.22, 0.7
"""Distance of a foreign colour from the skin's (sum over the channels' shares), and its lightness relative to the skin.
Painted lids stay below it.
"""


def wears_glasses(canvas: Canvas) -> bool:
    """Return whether a dark bar crosses the nose between the eyes. Frames without a bridge are missed."""
    point = canvas.points
    top, bottom = point[at.NOSE_ROOT], point[at.NOSE_RIDGE]
    line = (top + (bottom - top) * np.linspace(0, 1, 60, dtype=np.float32)[:, None]).round().astype(int)
    across = line[:, :1] + np.round(np.linspace(-0.02, 0.02, 5) * canvas.unit).astype(int)
    light = np.median(canvas.pixels[line[:, 1:], across].mean(axis=2), axis=1)
    darkest = int(light[6:-6].argmin()) + 6
    return bool(light[darkest] < _BRIDGE * min(light[:darkest].max(), light[darkest:].max()))


def dark_lenses(canvas: Canvas) -> bool:
    """Return whether sunglasses hide the eyes: it is dark all around them, but not on the cheeks."""
    around, cheeks = (canvas.pixels_at_landmarks(spots).mean(axis=1) for spots in (at.BELOW_EYES, at.CHEEKS))
    return bool(around.max() < _LENS * float(np.median(cheeks)))


def coloured_rim(canvas: Canvas) -> bool:
    """Return whether there is a foreign colour above an eye, such as a light rim or neon in the lenses.

    The lids would take on this colour.
    """
    skin = np.median(canvas.pixels_at_landmarks(at.PLAIN_SKIN), axis=0)
    above = np.linspace(_LASHES, _REACH, 11, dtype=np.float32)[:, None] * (0, canvas.unit)
    along = np.linspace(0.2, 0.8, 25)[:, None, None]
    for lid in (at.LEFT_EYE_UPPER, at.RIGHT_EYE_UPPER):
        inner, middle, outer = canvas.points[[lid[0], lid[4], lid[-1]]]
        edge = (
            (1 - along) ** 2 * inner + 2 * along * (1 - along) * (2 * middle - (inner + outer) / 2) + along**2 * outer
        )
        colour = np.median(canvas.pixels_at(edge - above), axis=0)
        seen = colour[colour.max(axis=1) > _AS_LIGHT * skin.max()]
        away = np.abs(seen / seen.sum(axis=1, keepdims=True) - skin / max(skin.sum(), 1)).sum(axis=1)
        if (away > _FOREIGN_HUE).any():
            return True
    return False
