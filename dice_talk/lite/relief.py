"""The light on skin: folds of the portrait's own smile are smoothed out, and those of an emotion appear.

Both only change how light the portrait's own pixels are, in the colour of the skin around. Nothing is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas

_LINE, _NEAR_LINE = 0.015, 0.060
"""Face heights up to which a dark line along a fold counts as a line, and the distance from the fold within which it
is filled.
"""
_WIDE, _NARROW = 0.10, 0.005
"""Sigma in face heights of the light that remains, and of the texture that is kept."""
_SHRINK, _COARSE = 8, 3
"""Factors by which the picture is reduced for the wide blur and for distances."""
_GAIN = (0.62, 2.0)
"""Limits of what the light may be multiplied by."""
_DARKENED = 0.5
"""Share of a darkening that is applied. All of it looks like wax."""
_FOLD_BAND, _EYE_BAND = 0.09, 0.05
"""Face heights around the folds and below the eyes that are smoothed."""
_PRESSED, _BULGE, _HOLLOW = 0.8, 1.4, 5.0
"""Most that skin is pushed together, and sigmas in steps of the grid of a bulge and of its surroundings."""
_SLOPE_LIGHT, _HOLLOW_LIGHT, _FOLD_LIGHT = 1.0, 0.5, (0.12, 0.07)
"""Light for a slope and for a height above the surroundings, and the limits of shade and light that they approach."""
CREASES = {
    "frown": ((107, 55, 193), (336, 285, 417)),
    "nasolabial": ((129, 203, 206, 216), (358, 423, 426, 436)),
    "nose": ((193, 245, 188), (417, 465, 412)),
}
_GROOVE, _RIDGE, _CREASE_SOFT = (0.030, 0.012), 0.35, 0.005
"""Width in face heights of the shade in a crease towards the middle of the face and away from it, the light of the skin
that bulges beside it relative to the shade, and the blur of both.
"""
_SKIN = (0.45, 1.6)
"""Lightness of skin relative to the cheeks'. Anything else is hair, lips, eyes or teeth."""


@dataclass(frozen=True)
class Relief:
    """A box of the canvas around the face."""

    left: int
    top: int
    plain: Pixels  # (h, w, 3) as in the portrait
    calm: Pixels  # (h, w, 3) without the folds of a smile
    colour: Floats  # (3,) exponents of red, green and blue for a factor on the light: shaded skin is more saturated

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas."""
        height, width = self.plain.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def make_relief(canvas: Canvas, smile: float) -> Relief:
    """Prepare the face of a portrait that smiles by `smile` in [0, 1]."""
    height, width = canvas.pixels.shape[:2]
    oval = canvas.points[[*at.OVAL]]
    left, top = (max(int(v), 0) for v in oval.min(0))
    right, bottom = (int(v) + 1 for v in np.minimum(oval.max(0), (width - 1, height - 1)))
    plain = canvas.pixels[top:bottom, left:right].copy()
    calm = _calmed(canvas, plain, np.array((left, top), np.float32), smile) if smile > 0 else plain
    colour = np.median(canvas.pixels_at_landmarks(at.PLAIN_SKIN), axis=0).astype(np.float32)
    return Relief(left, top, plain, calm, (colour.mean() / np.maximum(colour, 1)).clip(0.6, 1.6))


def _calmed(canvas: Canvas, plain: Pixels, corner: Floats, smile: float) -> Pixels:
    """Return the face without the folds of its smile."""
    unit, point = canvas.unit, canvas.points - corner
    folds, cheeks, eyes = (
        np.minimum(*(_distance(plain, point[[*line]]) / np.float32(unit) for line in lines))
        for lines in (
            (at.LEFT_FOLD, at.RIGHT_FOLD),
            (at.LEFT_CHEEK_LINE, at.RIGHT_CHEEK_LINE),
            (at.LEFT_BELOW_EYE, at.RIGHT_BELOW_EYE),
        )
    )
    size = 2 * max(round(_LINE * unit), 1) + 1
    closed = cv2.morphologyEx(plain, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    skin = _skin(canvas, closed, point)  # a dark line in it is skin, too
    near = _band(folds, _NEAR_LINE) * cv2.erode(skin, None)
    filled = plain + (closed.astype(np.float32) - plain) * (np.float32(smile) * near)[..., None]
    where = np.maximum(np.maximum(_band(folds, _FOLD_BAND), _band(cheeks, _FOLD_BAND)), _band(eyes, _EYE_BAND))
    share = np.float32(smile) * where * _soft(skin, 0.012 * unit)
    lit: Floats = filled * (1 + (_evening(filled, skin, unit) - 1) * share[..., None])
    return lit.clip(0, 255).astype(np.uint8)


def _evening(face: Floats, skin: Floats, unit: float) -> Floats:
    """Return the factor that gives skin the light of the skin around it, `(h, w, 3)`."""
    gain = _wide(face, skin, _WIDE * unit) / np.maximum(_narrow(face, skin, _NARROW * unit), 1)
    gain = gain.clip(*_GAIN)
    evening: Floats = np.maximum(gain, 1) + np.float32(_DARKENED) * np.minimum(gain - 1, 0)
    return evening


def _skin(canvas: Canvas, face: Pixels, point: Floats) -> Floats:
    """Return 1 on skin, 0 on eyes, brows, lips, hair and beyond the face, `(h, w)`."""
    mask = np.zeros(face.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(point[[*at.OVAL]].round().astype(np.int32)), 1)
    grown = max(round(0.014 * canvas.unit), 1)
    for parts in (
        at.OUTER_LIP_UPPER + at.OUTER_LIP_LOWER,
        at.LEFT_EYE_UPPER + at.LEFT_EYE_LOWER,
        at.RIGHT_EYE_UPPER + at.RIGHT_EYE_LOWER,
        at.LEFT_BROW_LOWER + at.LEFT_BROW_UPPER,
        at.RIGHT_BROW_LOWER + at.RIGHT_BROW_UPPER,
        at.NOSTRILS,
    ):
        hull = cv2.convexHull(point[[*parts]].round().astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 0)
        cv2.polylines(mask, [hull], True, 0, grown)
    light = face.mean(axis=2) / max(float(np.median(canvas.pixels_at_landmarks(at.CHEEKS))), 1)
    low, high = _SKIN
    skin: Floats = (mask * ((light > low) & (light < high))).astype(np.float32)
    return skin


def _distance(plain: Pixels, line: Floats) -> Floats:
    """Return the distance of each pixel from a line, `(h, w)`, measured at a fraction of the size."""
    height, width = plain.shape[:2]
    drawn = np.ones((height // _COARSE + 1, width // _COARSE + 1), np.uint8)
    cv2.polylines(drawn, [(line / _COARSE * 16).round().astype(np.int32)], False, 0, 1, shift=4)
    distance = cv2.distanceTransform(drawn, cv2.DIST_L2, 5) * np.float32(_COARSE)
    size = drawn.shape[1] * _COARSE, drawn.shape[0] * _COARSE
    fine: Floats = cv2.resize(distance, size, interpolation=cv2.INTER_LINEAR)[:height, :width]
    return fine


def _band(distance: Floats, width: float) -> Floats:
    band: Floats = np.exp(-((distance / np.float32(0.6 * width)) ** 2))
    return band


def _wide(pixels: Floats, skin: Floats, sigma: float) -> Floats:
    """Return the mean of the skin over a wide distance, at a fraction of the size."""
    size = (max(skin.shape[1] // _SHRINK, 1), max(skin.shape[0] // _SHRINK, 1))
    small, share = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (pixels * skin[..., None], skin))
    mean = _soft(small, sigma / _SHRINK) / np.maximum(_soft(share, sigma / _SHRINK), 1e-3)[..., None]
    wide: Floats = cv2.resize(mean, (skin.shape[1], skin.shape[0]), interpolation=cv2.INTER_LINEAR)
    return wide


def _narrow(pixels: Floats, skin: Floats, sigma: float) -> Floats:
    mean = _soft(pixels * skin[..., None], sigma) / np.maximum(_soft(skin, sigma), np.float32(1e-2))[..., None]
    narrow: Floats = np.where(skin[..., None] > 0, mean, pixels)
    return narrow


def _soft(field: Floats, sigma: float) -> Floats:
    soft: Floats = cv2.GaussianBlur(field.astype(np.float32), (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REPLICATE)
    return soft


def folds(fields: Floats, amounts: Sequence[float], bulge: float = 1.4) -> Floats:
    """Return how an expression changes the light on the skin: the logarithm of a factor at the nodes, `(h, w)`.

    `fields (K, h, w, 2)`: displacements in steps of the grid for parameters of one face height. Skin that is pushed
    together bulges. From above, a bulge gets light on its upper side, and the hollow below it lies in the shade.
    """
    moved = np.einsum("k,knmc->nmc", np.asarray(amounts, np.float32), fields)
    pressed = -(np.gradient(moved[..., 0], axis=1) + np.gradient(moved[..., 1], axis=0))
    height = _soft(pressed.clip(-_PRESSED, _PRESSED), bulge)
    slope = np.gradient(height, axis=0)
    hollow = height - _soft(height, _HOLLOW)
    light = _SLOPE_LIGHT * slope + _HOLLOW_LIGHT * hollow
    most = np.where(light < 0, *_FOLD_LIGHT)
    shed: Floats = (most * np.tanh(light / most)).astype(np.float32)
    return shed


def creases(canvas: Canvas, relief: Relief, depths: Mapping[str, float]) -> Floats:
    """Return the light on creases, as the logarithm of a factor, `(h, w)`. `depths`: names in `CREASES`."""
    light = np.zeros(relief.plain.shape[:2], np.float32)
    for name, depth in depths.items():
        for line in CREASES[name]:
            light -= np.float32(depth) * _crease(canvas, relief, line)
    return _soft(light, _CREASE_SOFT * canvas.unit) if depths else light


def _crease(canvas: Canvas, relief: Relief, line: Sequence[int]) -> Floats:
    """Return the shade in a crease, `(h, w)`, negative where the skin bulges beside it.

    The shade fades slowly towards the middle of the face. On the other side, the skin bulges over it.
    """
    curve = _curve(canvas.points[[*line]] - np.array((relief.left, relief.top), np.float32))
    x, y = np.arange(relief.plain.shape[1]), np.arange(relief.plain.shape[0])
    order = np.argsort(curve[:, 1])
    middle = float(canvas.points[at.NOSE_TIP, 0]) - relief.left
    beyond = (x - np.interp(y, curve[order, 1], curve[order, 0])[:, None]) * np.sign(curve[:, 0].mean() - middle)
    away = _distance(relief.plain, curve) / np.float32(canvas.unit)
    wide, steep = _GROOVE
    bulge = _RIDGE * np.exp(-(((away - 2.2 * steep) / (1.5 * steep)) ** 2)) * (beyond > 0)
    shade = np.exp(-((away / np.where(beyond > 0, steep, wide)) ** 2)) - bulge
    crease: Floats = (shade * _ends(relief, curve, canvas.unit)).astype(np.float32)
    return crease


def _curve(points: Floats) -> Floats:
    """Return a smooth line through the points."""
    at_points, fine = np.linspace(0, 1, len(points)), np.linspace(0, 1, 24)
    degree = min(len(points) - 1, 3)
    fit = [np.polyval(np.polyfit(at_points, axis, degree), fine) for axis in points.T]
    return np.stack(fit, axis=1).astype(np.float32)


def _ends(relief: Relief, curve: Floats, unit: float) -> Floats:
    """Return a weight that is 1 around the middle of a line and fades towards its ends."""
    middle = curve[len(curve) // 2]
    half = max(float(np.linalg.norm(curve[-1] - curve[0])) / 2, 0.01 * unit)
    y, x = np.mgrid[0 : relief.plain.shape[0], 0 : relief.plain.shape[1]].astype(np.float32)
    weight: Floats = np.exp(-((((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / np.float32((0.75 * half) ** 2)) ** 2))
    return weight


def light_at(relief: Relief, folds: Floats, origin: Floats, step: float, creased: Floats) -> Floats:
    """Return the light at the pixels of the face, `(h, w, 3)`, as a factor less 1. Skin in the shade is more saturated.

    `folds (n, m)`: at nodes that lie `step` pixels apart, of which the first is number `origin`; `creased (h, w)`: what
    is added at the pixels; both as logarithms.
    """
    height, width = relief.plain.shape[:2]
    x = np.arange(relief.left, relief.left + width, dtype=np.float32) / np.float32(step) - origin[0]
    y = np.arange(relief.top, relief.top + height, dtype=np.float32) / np.float32(step) - origin[1]
    light = cv2.remap(folds, *np.meshgrid(x, y), cv2.INTER_LINEAR) + creased
    factor: Floats = cv2.exp(light[..., None] * relief.colour) - 1
    return factor


def shed(relief: Relief, light: Floats, skin: Pixels, calm: float, folded: float) -> None:
    """Redraw the face on the canvas: how far its own folds are gone and those of the emotion are there.

    `light (h, w, 3)`: the factor less 1.
    """
    base = cv2.addWeighted(relief.plain, 1 - calm, relief.calm, calm, 0) if calm else relief.plain
    skin[relief.box] = cv2.multiply(base, 1 + np.float32(folded) * light, dtype=cv2.CV_8U) if folded else base
