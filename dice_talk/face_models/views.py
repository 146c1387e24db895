"""Parts of a picture as a network sees them: a rotated square, scaled to the network's input."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face_models.networks import Blob
from dice_talk.image import Pixels

Points = NDArray[np.float32]
"""`(N, 2 or 3)`: x, y and, if there is depth, z, in pixels."""


@dataclass(frozen=True)
class View:
    """A rotated rectangle in a picture, in pixels. `angle` is in radians, positive clockwise."""

    x: float  # of the centre
    y: float
    width: float
    height: float
    angle: float = 0.0


def whole(picture: Pixels) -> View:
    """Return the view of the whole picture."""
    height, width = picture.shape[:2]
    return View(width / 2, height / 2, width, height)


def letterbox(picture: Pixels) -> View:
    """Return the smallest square view that contains the whole picture."""
    side = max(picture.shape[:2])
    return View(picture.shape[1] / 2, picture.shape[0] / 2, side, side)


def cut(picture: Pixels, view: View, side: int, border: int) -> Pixels:
    """Cut `view` from an RGB picture as a square of `side` pixels. `border`: OpenCV's mode outside the picture."""
    corners = cv2.boxPoints(((view.x, view.y), (view.width, view.height), math.degrees(view.angle)))
    target = np.array([(0, side), (0, 0), (side, 0), (side, side)], np.float32)  # in the order of `boxPoints`
    transform = cv2.getPerspectiveTransform(corners, target)
    pixels: Pixels = cv2.warpPerspective(picture, transform, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    return pixels


def blob(pixels: Pixels, low: float = 0.0) -> Blob:
    """Return the input of a network, `(1, 3, H, W)`: RGB values in [`low`, 1]."""
    scale = (1 - low) / 255
    values: Blob = cv2.dnn.blobFromImage(pixels, scale, mean=(-low / scale,) * 3)
    return values


def to_picture(points: Points, view: View) -> Points:
    """Convert points from shares of a square view, `(N, 2 or 3)`, to the picture's pixels."""
    cos, sin = math.cos(view.angle), math.sin(view.angle)
    moved = points * np.float32(view.width)
    x, y = (points[:, :2].T - 0.5) * view.width
    moved[:, 0] = view.x + cos * x - sin * y
    moved[:, 1] = view.y + sin * x + cos * y
    return moved
