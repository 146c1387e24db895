"""Finds the person whose face was detected: what moves with the head and what stays still."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face_models import Mask, Points
from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.models import FaceModels, person_mask, window

_FOUND = 0.5
"""Share of the face that the mask must cover. It covers more than 0.9 of it, or next to nothing."""
_NEAR = 3.0
"""Side of the closer look in face heights. Of 60 faces that the mask missed in the whole picture (small, dark or near
the edge), it covers 55.
"""
_DARKEST, _LIGHTEST = 1, 99
"""Percentiles that the closer look maps to black and white, because the network was not trained on pale or dark
pictures.
"""
_EARS, _HAIR, _NECK_WIDTH, _NECK_LENGTH = 1.18, 0.22, 0.6, 0.45
"""Proportions of a head: its width relative to the face's, face heights of hair above the forehead, the neck's width
relative to the face's, and its length in face heights.
"""


def find_person(models: FaceModels, picture: Pixels, points: Points) -> Mask:
    """Return the probability that each pixel shows the person with these landmarks, `(H, W)` in [0, 1].

    If the mask of the whole picture misses the face, a closer look is taken. If that misses it too, the head is derived
    from the landmarks.
    """
    oval = points[[*at.OVAL], :2]
    whole = person_mask(models, picture)
    if _covers(whole, oval):
        return whole
    near = np.maximum(whole, _closer_mask(models, picture, points))
    return near if _covers(near, oval) else np.maximum(near, head_from_landmarks(picture, points))


def _covers(mask: Mask, oval: Floats) -> bool:
    face = np.zeros(mask.shape, np.uint8)
    _fill(face, oval)
    return bool(face.any()) and float((mask[face > 0] > 0.5).mean()) >= _FOUND


def _closer_mask(models: FaceModels, picture: Pixels, points: Points) -> Mask:
    """Return the mask of the surroundings of the face after stretching their contrast; 0 elsewhere."""
    middle, side = points[[*at.OVAL], :2].mean(0), max(round(_NEAR * _face_height(points)), 1)
    left, top = (round(float(centre) - side / 2) for centre in middle)
    view = window(picture, left, top, side)
    low, high = np.percentile(view, (_DARKEST, _LIGHTEST))
    stretched = ((view - low) * (255 / max(high - low, 1.0))).clip(0, 255).astype(np.uint8)
    seen = person_mask(models, stretched)
    mask = np.zeros(picture.shape[:2], np.float32)
    inside = mask[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    rows, columns = max(-top, 0), max(-left, 0)
    inside[:] = seen[rows : rows + inside.shape[0], columns : columns + inside.shape[1]]
    return mask


def head_from_landmarks(picture: Pixels, points: Points) -> Mask:
    """Return head and neck as derived from the landmarks alone, `(H, W)`, 0 or 1."""
    oval, height = points[[*at.OVAL], :2], _face_height(points)
    middle = oval.mean(0)
    up = (points[at.FOREHEAD, :2] - points[at.CHIN, :2]) / height
    across = np.array([-up[1], up[0]], np.float32)
    along, aside = (oval - middle) @ up, (oval - middle) @ across
    skull = middle + np.outer(along, up) + np.outer(aside * _EARS, across)
    hair = skull[along > 0] + _HAIR * height * up
    half = _NECK_WIDTH * float(np.abs(aside).max())
    chin = points[at.CHIN, :2]
    ends = (chin + 0.3 * height * up, chin - _NECK_LENGTH * height * up)
    neck = np.array([end + side * half * across for end in ends for side in (-1, 1)])
    head = np.zeros(picture.shape[:2], np.uint8)
    _fill(head, np.concatenate([skull, hair]))
    _fill(head, neck)
    return head.astype(np.float32)


def _face_height(points: Points) -> float:
    return max(float(np.linalg.norm(points[at.FOREHEAD, :2] - points[at.CHIN, :2])), 1.0)


def _fill(onto: NDArray[np.uint8], outline: Floats) -> None:
    cv2.fillConvexPoly(onto, cv2.convexHull(outline.round().astype(np.int32)), 1)
