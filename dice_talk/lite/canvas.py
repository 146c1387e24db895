"""The canvas: the head, upright and at twice the video's resolution, on which eyes and mouth are moved.

Drawing at twice the resolution and scaling down keeps lids and lips smooth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face_models import Points
from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats

_OVERSAMPLING = 2.0
_BLUR = 0.7
"""Softness in pixels of an enlarged portrait. Whatever is drawn into it must be as soft as it is."""
_MIN_UNIT, _MAX_UNIT = 32, 800
"""Limits in canvas pixels from forehead to chin: below, eyes and lips have no pixels; above, nothing more would show.
"""
_REACH = (1.45, 1.45, 1.35)
"""Extent of the canvas to either side, up and down from the middle of the face, in face heights."""


@dataclass(frozen=True)
class Canvas:
    """An upright picture of the head with its landmarks.

    `pixels (h, w, 3)`; `points (478, 2)` and `depth (478,)` in canvas pixels, depth positive towards the camera;
    `unit`: pixels from the top of the forehead to the chin, which is the face height that all amplitudes refer to;
    `affine (2, 3)` maps pixels of the video to the canvas; `softness`: canvas pixels over which an edge in the portrait
    is spread.
    """

    pixels: Pixels
    points: Floats
    depth: Floats
    unit: float
    affine: Floats
    softness: float

    def pixels_at_landmarks(self, landmarks: Sequence[int]) -> Pixels:
        """Return the pixels at these landmarks, `(n, 3)`."""
        return self.pixels_at(self.points[[*landmarks]])

    def pixels_at(self, points: Floats) -> Pixels:
        """Return the pixels at `points (..., 2)`, as `(..., 3)`."""
        x, y = np.moveaxis(points.astype(int), -1, 0)
        height, width = self.pixels.shape[:2]
        found: Pixels = self.pixels[y.clip(0, height - 1), x.clip(0, width - 1)]
        return found

    @property
    def turn(self) -> float:
        """How far the head is turned: 0 from the front, 0.5 in three-quarter view, above 1 towards a profile."""
        left, nose, right = (float(self.points[i, 0]) for i in (at.LEFT_EAR, at.NOSE_TIP, at.RIGHT_EAR))
        return abs(2 * nose - left - right) / max(right - left, 1.0)


def make_canvas(picture: Pixels, points: Points, width: int, height: int) -> Canvas:
    """Cut the head out of an RGB picture, turns it upright and scale it for a video of `width` x `height`.

    `points`: landmarks in the picture's pixels.
    """
    stretch = np.array([width / picture.shape[1], height / picture.shape[0]])
    flat = points[:, :2] * stretch
    unit = float(np.linalg.norm(flat[at.FOREHEAD] - flat[at.CHIN]))
    scale = max(min(_OVERSAMPLING, _MAX_UNIT / unit), 1.0, _MIN_UNIT / unit)
    middle = flat[[*at.OVAL]].mean(0)
    angle = _roll(flat)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    side, up, down = (round(reach * unit * scale) for reach in _REACH)
    affine = np.column_stack([turn, np.array([side, up]) - turn @ middle])
    shrink = _shrunk(picture, stretch * scale)
    onto = affine @ np.array([[width / shrink.shape[1], 0, 0], [0, height / shrink.shape[0], 0], [0, 0, 1]])
    pixels = cv2.warpAffine(
        shrink, onto, (2 * side, up + down), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return Canvas(
        pixels=pixels,
        points=(flat @ turn.T + affine[:, 2]).astype(np.float32),
        depth=(-points[:, 2] * stretch[0] * scale).astype(np.float32),
        unit=unit * scale,
        affine=affine.astype(np.float32),
        softness=max(1.0, _BLUR * float(max(stretch)) * scale),
    )


def _roll(flat: NDArray[np.float64]) -> float:
    """Return how far the head leans, in radians: the mean of the angles of the eye line and of the face's midline."""
    eyes = flat[at.RIGHT_EYE_OUTER] - flat[at.LEFT_EYE_OUTER]
    midline = flat[at.CHIN] - flat[at.FOREHEAD]
    return (math.atan2(eyes[1], eyes[0]) + math.atan2(-midline[0], midline[1])) / 2


def _shrunk(picture: Pixels, factor: NDArray[np.float64]) -> Pixels:
    """Scale the picture down by area averaging to about the canvas's resolution, but never up."""
    if max(factor) >= 1:
        return picture
    size = tuple(round(side * f) for side, f in zip(picture.shape[1::-1], factor, strict=True))
    smaller: Pixels = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return smaller
