"""A face that is drawn, symmetrical and seen from the front: small enough for tests of single modules."""

import cv2
import numpy as np

from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas

UNIT = 100
"""Pixels from the top of the forehead to the chin."""
WIDTH, HEIGHT = 290, 280
MIDDLE = np.array([145.0, 145.0], np.float32)
SKIN_COLOUR = (190, 150, 130)
_SPOTS = {
    at.NOSE_ROOT: (0, -0.14),
    at.BETWEEN_EYES: (0, -0.08),
    6: (0, -0.05),
    195: (0, -0.01),
    at.NOSE_RIDGE: (0, 0.03),
    at.NOSE_TIP: (0, 0.08),
    at.NOSE_BASE: (0, 0.14),
    9: (0, -0.2),
    151: (0, -0.33),
    at.LEFT_NOSTRIL: (-0.07, 0.11),
    at.RIGHT_NOSTRIL: (0.07, 0.11),
    at.LEFT_CHEEK: (-0.2, 0.1),
    at.RIGHT_CHEEK: (0.2, 0.1),
    at.LEFT_JOWL: (-0.19, 0.2),
    at.RIGHT_JOWL: (0.19, 0.2),
    **dict(zip(at.BELOW_EYES, ((-0.17, -0.03), (0.17, -0.03), (-0.2, -0.01), (0.2, -0.01)), strict=True)),
}


def points(opening: float = 0.0, eyes: float = 1.0) -> Floats:
    """Landmarks `(478, 2)` around (0, 0) in face heights. `opening`: between the lips; `eyes`: 0 for shut ones."""
    turns, reach = np.arange(478) * 2.4, 0.3 * np.sqrt(np.arange(478) / 478)
    where = np.stack([reach * np.cos(turns), reach * np.sin(turns)], 1)  # those that have no name
    angle = np.arange(36) / 36 * 2 * np.pi
    where[[*at.OVAL]] = np.stack([0.38 * np.sin(angle), -0.5 * np.cos(angle)], 1)
    for spot, place in _SPOTS.items():
        where[spot] = place
    _line(where, at.OUTER_LIP_UPPER, (-0.15, 0.15), 0.245, -0.045)
    _line(where, at.OUTER_LIP_LOWER, (-0.15, 0.15), 0.245, 0.065 + opening)
    _line(where, at.INNER_LIP_UPPER, (-0.13, 0.13), 0.25, 0)
    _line(where, at.INNER_LIP_LOWER, (-0.13, 0.13), 0.25, opening)
    for upper, lower, crease, iris, middle in (
        (at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER, at.LEFT_CREASE, at.LEFT_IRIS, -0.17),
        (at.RIGHT_EYE_UPPER, at.RIGHT_EYE_LOWER, at.RIGHT_CREASE, at.RIGHT_IRIS, 0.17),
    ):
        ends = middle - 0.075, middle + 0.075
        _line(where, upper, ends, -0.1, -0.03 * eyes)
        _line(where, lower, ends, -0.1, 0.02 * eyes)
        _line(where, crease, ends, -0.12, -0.03)
        where[[*iris]] = [(middle + x, -0.105 + y) for x, y in ((0, 0), (0.02, 0), (0, -0.02), (-0.02, 0), (0, 0.02))]
    for brow, y in ((at.LEFT_BROW_UPPER, -0.225), (at.LEFT_BROW_LOWER, -0.19)):
        _line(where, brow, (-0.27, -0.07), y, 0)
    for brow, y in ((at.RIGHT_BROW_UPPER, -0.225), (at.RIGHT_BROW_LOWER, -0.19)):
        _line(where, brow, (0.07, 0.27), y, 0)
    return where.astype(np.float32)


def _line(where: np.ndarray, landmarks: tuple[int, ...], ends: tuple[float, float], y: float, bow: float) -> None:
    """Landmarks from left to right, `bow` further down in the middle."""
    along = np.linspace(-1, 1, len(landmarks))
    where[[*landmarks], 0] = np.linspace(*ends, len(landmarks))
    where[[*landmarks], 1] = y + bow * (1 - along**2)


def canvas(opening: float = 0.0, eyes: float = 1.0) -> Canvas:
    """As `make_canvas` would give it, at one pixel of the canvas for one of the video."""
    where = points(opening, eyes)
    on_canvas = MIDDLE + where * UNIT
    depth = 0.3 * UNIT * (1 - (where**2).sum(1) / 0.25)
    pixels = np.full((HEIGHT, WIDTH, 3), SKIN_COLOUR, np.uint8)
    for upper, lower, iris in (
        (at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER, at.LEFT_IRIS),
        (at.RIGHT_EYE_UPPER, at.RIGHT_EYE_LOWER, at.RIGHT_IRIS),
    ):
        if eyes:
            _fill(pixels, on_canvas[[*upper, *lower[::-1]]], (225, 225, 225))
            x, y = on_canvas[iris[0]].round().astype(int)
            cv2.circle(pixels, (int(x), int(y)), 2, (40, 30, 20), -1)
    _fill(pixels, on_canvas[[*at.OUTER_LIP_UPPER, *at.OUTER_LIP_LOWER[::-1]]], (180, 90, 90))
    if opening:
        _fill(pixels, on_canvas[[*at.INNER_LIP_UPPER, *at.INNER_LIP_LOWER[::-1]]], (50, 20, 20))
    for brow in (at.LEFT_BROW_UPPER + at.LEFT_BROW_LOWER[::-1], at.RIGHT_BROW_UPPER + at.RIGHT_BROW_LOWER[::-1]):
        _fill(pixels, on_canvas[[*brow]], (60, 40, 30))
    affine = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    return Canvas(pixels, on_canvas.astype(np.float32), depth.astype(np.float32), float(UNIT), affine, 1.5)


def _fill(pixels: np.ndarray, outline: Floats, colour: tuple[int, int, int]) -> None:
    cv2.fillPoly(pixels, [outline.round().astype(np.int32)], colour)
