"""The face models as the lite engine uses them: the face to animate, its landmarks and the person's mask."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from dice_talk.detect import load_detector
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import NoFaceFound
from dice_talk.face import Box, Detector, choose, iou, largest
from dice_talk.face_models import FaceMesh, Mask, PersonSegmenter, Points, load_mesh, load_segmenter
from dice_talk.image import Pixels
from dice_talk.lite import topology as at

_MESH_MARGIN = 0.6
"""Margin on each side, as a share of the face box. The mesh's own detector needs to see the whole head."""
_MESH_SIDE = 512
"""Pixels; the mesh sees 192 px of it, its detector 128."""
_MESH_CONFIDENCE, _MESH_CANDIDATES = 0.3, 2
_SAME_LANDMARKS = 0.04
"""Mean distance, as a share of the face height, by which landmarks may move when the mesh looks again at what it found.
On faces, including small, drawn and turned ones, it is 0.002 to 0.025. On a bird or a cup it is more, or there are no
landmarks.
"""
_FITS = 0.3
"""Lowest IoU of the detector's box and the landmarks' box. It is 0.6 to 0.9 if the detector's box is of this face, and
below 0.25 if it spans several people, of whom the mesh picks one.
"""


@dataclass(frozen=True)
class FaceModels:
    """The models, loaded once per process. Must not be shared between threads."""

    detector: Detector
    mesh: FaceMesh
    segmenter: PersonSegmenter


@dataclass(frozen=True)
class FoundFace:
    """The face to animate in a picture."""

    box: Box
    points: Points
    others: list[Box]


def load_face_models() -> FaceModels:
    """Load all three models in about a tenth of a second."""
    return FaceModels(load_detector(), load_mesh(_MESH_CONFIDENCE), load_segmenter())


def find_face(models: FaceModels, picture: Pixels, index: int) -> FoundFace:
    """Find face number `index` in an RGB picture, counting faces with landmarks from the largest.

    Raises `NoFaceFound` if there is none at all, else `InvalidOptions`.
    """
    boxes = largest(models.detector(picture))
    faces = list(islice(usable(models, picture, boxes), index + 1))
    if not faces:
        raise no_face(boxes)
    box, points = choose(faces, index)
    face = _extent(points, picture)
    return FoundFace(box, points, [other for other in boxes if other is not box and not _same(other, face)])


def usable(models: FaceModels, picture: Pixels, boxes: list[Box]) -> Iterator[tuple[Box, Points]]:
    """Yield each face in an RGB picture whose landmarks can be found, once, with its box."""
    found: list[Box] = []
    for box in boxes:
        points = landmarks(models, picture, box)
        if points is None:
            continue
        face = _extent(points, picture)
        fits = iou(box, face) >= _FITS
        better = not fits and any(_same(other, face) for other in boxes if iou(other, face) >= _FITS)
        if not better and not any(_same(other, face) for other in found):
            found.append(face)
            yield box if fits else face, points


def _extent(points: Points, picture: Pixels) -> Box:
    """Return the bounding box of the landmarks, clamped to the picture."""
    (left, top), (right, bottom) = points[:, :2].min(0), points[:, :2].max(0)
    height, width = picture.shape[:2]
    left, right = np.clip((left, right), 0, width)
    top, bottom = np.clip((top, bottom), 0, height)
    return Box(float(left), float(top), float(right), float(bottom))


def _same(box: Box, face: Box) -> bool:
    """Return whether `box` shows `face`, alone or among others: one contains the centre of the other."""
    return face.contains(box.middle) or box.contains(face.middle)


def no_face(boxes: list[Box]) -> NoFaceFound:
    """Return the error that explains why no face can be used, given the boxes that the detector found."""
    if boxes:
        return NoFaceFound(
            ErrorCode.FACE_UNCLEAR,
            "A face was found in the image, but not its features",
            "Eyes, nose and mouth must be visible: use a picture that shows the face from the front or at a slight "
            "angle, without a mask or a hand over it.",
        )
    return NoFaceFound(
        ErrorCode.NO_FACE,
        "No face was found in the image",
        "Use a sharp, well-lit picture of one person who faces the camera, with the head at least 60 pixels high "
        "and upright.",
    )


def landmarks(models: FaceModels, picture: Pixels, face: Box) -> Points | None:
    """Return the 478 landmarks of the face in a box.

    Returns None if the mesh finds none, or finds others when it looks again.
    """
    points = _mesh(models, picture, face)
    if points is None:
        return None
    low, high = points.min(0), points.max(0)
    again = _mesh(models, picture, Box(float(low[0]), float(low[1]), float(high[0]), float(high[1])))
    if again is None:
        return None
    height = float(np.linalg.norm(points[at.FOREHEAD, :2] - points[at.CHIN, :2]))
    away = float(np.linalg.norm(again[:, :2] - points[:, :2], axis=1).mean())
    return points if away <= _SAME_LANDMARKS * height else None


def _mesh(models: FaceModels, picture: Pixels, face: Box) -> Points | None:
    side = round((1 + 2 * _MESH_MARGIN) * max(face.width, face.height))
    left, top = round((face.left + face.right - side) / 2), round((face.top + face.bottom - side) / 2)
    view = window(picture, left, top, side)
    view = cv2.resize(
        view, (_MESH_SIDE, _MESH_SIDE), interpolation=cv2.INTER_AREA if side > _MESH_SIDE else cv2.INTER_CUBIC
    )
    candidates = models.mesh(view, most=_MESH_CANDIDATES)
    if not candidates:
        return None
    middle = _MESH_SIDE / 2
    points = min(candidates, key=lambda one: float(np.abs(one[:, :2].mean(0) - middle).sum())) * (side / _MESH_SIDE)
    points[:, :2] += (left, top)
    return points


def window(picture: Pixels, left: int, top: int, side: int) -> Pixels:
    """Cut a square from a picture, repeating its edge outside."""
    height, width = picture.shape[:2]
    rows, columns = np.clip((top, top + side - 1), 0, height - 1), np.clip((left, left + side - 1), 0, width - 1)
    inside = picture[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]  # one row and column at least
    above, before = min(max(-top, 0), side - 1), min(max(-left, 0), side - 1)
    below, behind = side - above - inside.shape[0], side - before - inside.shape[1]
    window: Pixels = cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_REPLICATE)
    return window


def person_mask(models: FaceModels, picture: Pixels) -> Mask:
    """Return the probability that each pixel of an RGB picture shows a person, `(H, W)` in [0, 1]."""
    return models.segmenter(picture)
