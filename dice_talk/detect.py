"""Finds faces: close-ups, people at a distance, and small faces in group photos."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from dice_talk import face_models
from dice_talk.face import Box, Detector, iou
from dice_talk.face_models import FaceDetector
from dice_talk.image import Pixels

_CONFIDENCE = 0.5
_SAME_FACE_IOU = 0.3
_FOREHEAD = 0.12
"""Share of a detection's height (brows to chin) by which its box grows upwards to include the forehead."""
_WORKING_SIDE = 1280
"""Pixels; the networks see 128 to 192 px, so larger pictures only cost time."""
_TILE_SHARES = (1 / 2, 1 / 4)
"""Sides of the enlarged tiles as shares of the picture's. Neighbouring tiles overlap by half."""
_MARGIN = 0.5
"""Share of each side by which the picture is extended with its mirror image. Helps with a face that fills the picture.
"""


def load_detector() -> Detector:
    """Load the networks for near and for far faces. The detector must not be shared between threads."""
    networks = face_models.near(_CONFIDENCE), face_models.far()

    def look(picture: Pixels) -> list[Box]:
        return [box for network in networks for box in _boxes(network, picture)]

    return lambda picture: find_faces(picture, look)


def find_faces(picture: Pixels, look: Callable[[Pixels], list[Box]]) -> list[Box]:
    """Return the faces in an RGB picture.

    `look` is shown the whole picture, then the picture with margins, then enlarged tiles, until it finds a face.
    """
    scale = min(1.0, _WORKING_SIDE / max(picture.shape[:2]))
    whole = picture if scale == 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for boxes in (_found(views, look) for views in (_whole(whole), _with_margins(whole), *_tilings(picture, scale))):
        if boxes:
            height, width = picture.shape[:2]
            return [_clamp(_scaled(box, 1 / scale), width, height) for box in boxes]
    return []


View = tuple[Pixels, float, float, float]
"""Pixels to look at, and the way back to the whole picture: left, top, and pixels of the picture per pixel of the view.
"""


def _whole(picture: Pixels) -> Iterator[View]:
    yield picture, 0, 0, 1


def _with_margins(picture: Pixels) -> Iterator[View]:
    y, x = (round(_MARGIN * side) for side in picture.shape[:2])
    yield cv2.copyMakeBorder(picture, y, y, x, x, cv2.BORDER_REFLECT_101), -x, -y, 1


def _tilings(picture: Pixels, scale: float) -> Iterator[Iterator[View]]:
    for share in _TILE_SHARES:
        yield _tiles(picture, scale, share)


def _tiles(picture: Pixels, scale: float, share: float) -> Iterator[View]:
    height, width = picture.shape[:2]
    tall, wide = max(round(share * height), 64), max(round(share * width), 64)
    steps = round(2 / share) - 1
    for top in np.linspace(0, max(height - tall, 0), steps).astype(int):
        for left in np.linspace(0, max(width - wide, 0), steps).astype(int):
            yield np.ascontiguousarray(picture[top : top + tall, left : left + wide]), left * scale, top * scale, scale


def _found(views: Iterator[View], look: Callable[[Pixels], list[Box]]) -> list[Box]:
    boxes: list[Box] = []
    for pixels, left, top, scale in views:
        for box in look(pixels):
            there = _scaled(box, scale)
            boxes.append(Box(there.left + left, there.top + top, there.right + left, there.bottom + top))
    return _distinct(boxes)


def _distinct(boxes: list[Box]) -> list[Box]:
    """Keep the first of all boxes that show the same face: `look` returns the most certain network's first."""
    kept: list[Box] = []
    for box in boxes:
        if all(iou(box, other) < _SAME_FACE_IOU for other in kept):
            kept.append(box)
    return kept


def _scaled(box: Box, scale: float) -> Box:
    return Box(box.left * scale, box.top * scale, box.right * scale, box.bottom * scale)


def _clamp(box: Box, width: int, height: int) -> Box:
    return Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))


def _boxes(network: FaceDetector, picture: Pixels) -> Iterator[Box]:
    for face in network(picture):
        yield replace(face.box, top=face.box.top - _FOREHEAD * face.box.height)
