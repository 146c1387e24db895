"""Face detection: boxes with six key points, from one network for close-ups and one for distant faces."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face import Box
from dice_talk.face_models import views
from dice_talk.face_models.networks import Blob, Network, load_network
from dice_talk.face_models.views import Points
from dice_talk.image import Pixels

_SAME_FACE_IOU = 0.3
_FAR_CONFIDENCE = 0.6
"""As in MediaPipe's own graph. Below this, the far network reports many false faces."""
_MAP = 48
"""Cells per side of the far network's output, after unpacking blocks of 2 x 2 from its channels."""

Candidates = NDArray[np.float64]
"""`(N, 17)`: score, left, top, right, bottom and six key points (x, y), as shares of a square view."""


@dataclass(frozen=True)
class Detection:
    """A detected face, in pixels."""

    box: Box  # from brows to chin
    score: float
    key_points: Points  # (6, 2): right eye, left eye, nose, mouth, right ear, left ear


@dataclass(frozen=True)
class FaceDetector:
    """A loaded detector. Must not be shared between threads."""

    network: Network
    side: int
    anchors: NDArray[np.float64]  # (N, 2), as shares of the view
    confidence: float

    def __call__(self, picture: Pixels) -> list[Detection]:
        """Return the faces in an RGB picture, most certain first."""
        view = views.letterbox(picture)
        pixels = views.cut(picture, view, self.side, cv2.BORDER_CONSTANT)
        scores, boxes = (_rows(values, len(self.anchors)) for values in self.network(views.blob(pixels, low=-1)))
        return [_detection(face, view) for face in _merged(self._candidates(scores[:, 0], boxes / self.side))]

    def _candidates(self, logits: NDArray[np.float64], boxes: NDArray[np.float64]) -> Candidates:
        """Decode `boxes (N, 16)`: centre, size and six key points, relative to the anchors, as shares of the view."""
        scores = 1 / (1 + np.exp(-logits.clip(-100, 100)))
        sure = scores >= self.confidence
        anchors, values = self.anchors[sure], boxes[sure]
        centre, half = values[:, :2] + anchors, values[:, 2:4] / 2
        key_points = (values[:, 4:].reshape(-1, 6, 2) + anchors[:, None]).reshape(-1, 12)
        return np.hstack((scores[sure, None], centre - half, centre + half, key_points))


def near(confidence: float) -> FaceDetector:
    """Load the detector for faces up to about 2 m from the camera. `confidence`: lowest score to return."""
    network = load_network("face_detection_short_range.tflite", ("input",), ("classificators", "regressors"))
    return FaceDetector(network, 128, np.vstack((_grid(16, 2), _grid(8, 6))), confidence)


def far() -> FaceDetector:
    """Load the detector for faces up to about 5 m from the camera."""
    layer = "model_1/model/depthwise_conv2d_{0}/BiasAdd;model_1/model/depthwise_conv2d_{0}/depthwise;"
    layer += "model_1/model/depthwise_conv2d_{0}/BiasAdd/ReadVariableOp/resource1"
    outputs = (layer.format(40), layer.format(41))
    network = load_network("face_detection_full_range.tflite", ("input_1",), outputs)
    return FaceDetector(network, 192, _grid(_MAP, 1), _FAR_CONFIDENCE)


def _grid(cells: int, each: int) -> NDArray[np.float64]:
    """Return the centres of `cells` x `cells` cells, row by row, each repeated `each` times."""
    y, x = np.mgrid[:cells, :cells]
    return np.repeat((np.stack((x, y), -1).reshape(-1, 2) + 0.5) / cells, each, 0)


def _rows(values: Blob, count: int) -> NDArray[np.float64]:
    """Arrange the output of either network as one row per anchor."""
    if values.ndim == 4:  # (1, 4 C, H, W): four neighbours' values in each cell
        _, channels, height, width = values.shape
        blocks = values.reshape(2, 2, channels // 4, height, width)
        values = np.ascontiguousarray(blocks.transpose(3, 0, 4, 1, 2))
    return values.reshape(count, -1).astype(np.float64)


def _merged(left: Candidates) -> list[NDArray[np.float64]]:
    """Merge overlapping candidates into one row per face.

    A face is the mean of all candidates that overlap the most certain one, weighted by score. It keeps the highest
    score.
    """
    faces = []
    left = left[np.argsort(-left[:, 0], kind="stable")]
    while len(left):
        same = _iou(left[0, 1:5], left[:, 1:5]) > _SAME_FACE_IOU
        same[0] = True  # even if it has no area
        mean = np.average(left[same, 1:], axis=0, weights=left[same, 0])
        faces.append(np.concatenate((left[0, :1], mean)))
        left = left[~same]
    return faces


def _iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of a box `(4,)` with each of `others (N, 4)`."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0).prod(1)
    both = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared
    overlap: NDArray[np.float64] = np.divide(shared, both, out=np.zeros_like(both), where=both > 0)
    return overlap


def _detection(face: NDArray[np.float64], view: views.View) -> Detection:
    points = views.to_picture(face[1:].reshape(-1, 2).astype(np.float32), view)
    (left, top), (right, bottom) = points[:2].tolist()
    return Detection(Box(left, top, right, bottom), float(face[0]), points[2:])


def face_view(face: Detection) -> views.View:
    """Return the square that the mesh looks at: around the face, turned so that the eyes are level."""
    (right, left), box = face.key_points[:2].tolist(), face.box
    side = 1.5 * max(box.width, box.height)
    angle = math.atan2(left[1] - right[1], left[0] - right[0])
    return views.View((box.left + box.right) / 2, (box.top + box.bottom) / 2, side, side, angle)
