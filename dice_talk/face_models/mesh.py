"""The face mesh with attention: 478 landmarks, of which those of lips, eyes and irises are refined.

The trunk gives 468 landmarks and a feature map. For the lips and for each eye, a turned square of this map, framed by
the first landmarks, goes through a separate network that places the landmarks there again.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face_models import detection, views
from dice_talk.face_models.detection import FaceDetector, face_view
from dice_talk.face_models.networks import Blob, Network, load_network, read
from dice_talk.face_models.views import Points, View
from dice_talk.image import Pixels

_SIDE, _FEATURES = 192, 48
"""Pixels of the trunk's input, and cells of its feature map."""
_CROP, _CROP_PIXELS = 16, 64
"""Cells of a part's square of the feature map, and the pixels of this square that its network's output is in."""
_SQUARES = {
    "lips": "transform_tensor_bilinear_v2",
    "left_eye": "transform_tensor_bilinear_v2_1",
    "right_eye": "transform_tensor_bilinear_v2_2",
}
"""Names of the networks' inputs."""
_IRISES = {"left_eye": slice(468, 473), "right_eye": slice(473, 478)}
_EYE_CONTOUR = 16
"""The first landmarks of an eye lie around its opening. The iris takes its depth from them."""
_FACE_PRESENT = 0.5

Transforms = NDArray[np.float64]
"""`(N, 2, 3)`: from shares of a part's square, in [-.5, .5], to shares of the trunk's view."""


LIPS = ("lips",)
ALL_PARTS = ("lips", "left_eye", "right_eye")


@dataclass(frozen=True)
class Part:
    """The lips or an eye."""

    network: Network  # outputs the landmarks, and the iris if there is one
    corners: tuple[int, int]  # landmarks that are level in its square
    scale: float  # size of the square relative to its landmarks' extent
    points: NDArray[np.intp]
    iris: slice | None


@dataclass(frozen=True)
class FaceMesh:
    """A loaded mesh. Must not be shared between threads."""

    detector: FaceDetector
    trunk: Network
    parts: tuple[Part, ...]

    def __call__(self, picture: Pixels, most: int) -> list[Points]:
        """Return the landmarks `(478, 3)` of up to `most` faces in an RGB picture, most certain first."""
        seen = (self.look(picture, face_view(face)) for face in self.detector(picture)[:most])
        return [points for points in seen if points is not None]

    def find(self, picture: Pixels) -> View | None:
        """Return the view of the most certain face in an RGB picture, or None if the detector finds none."""
        faces = self.detector(picture)
        return face_view(faces[0]) if faces else None

    def look(self, picture: Pixels, view: View) -> Points | None:
        """Return the landmarks `(478, 3)` of the face in a view, in the picture's pixels, or None if there is no face.

        Irises are `nan` if their eye is not among `parts`.
        """
        pixels = views.cut(picture, view, _SIDE, cv2.BORDER_REPLICATE)
        mesh, features, present = self.trunk(views.blob(pixels))
        if 1 / (1 + math.exp(-float(present.item()))) < _FACE_PRESENT:
            return None
        points = np.full((478, 3), np.nan)
        points[:468] = mesh.reshape(468, 3) / _SIDE
        self._refine(points, features[0])
        return views.to_picture(points.astype(np.float32), view)

    def _refine(self, points: NDArray[np.float64], features: Blob) -> None:
        """Replace the landmarks of each part, and add the irises."""
        transforms = np.stack([_framing(points, part) for part in self.parts])
        for part, transform, crop in zip(self.parts, transforms, _crops(features, transforms), strict=True):
            outline, *iris = part.network(crop)
            points[part.points, :2] = _placed(outline, transform)
            if part.iris:
                points[part.iris, :2] = _placed(iris[0], transform)
                points[part.iris, 2] = points[part.points[:_EYE_CONTOUR], 2].mean()


def load_mesh(confidence: float, parts: Sequence[str] = ALL_PARTS) -> FaceMesh:
    """Load the mesh with the detector for close-ups.

    `confidence`: lowest score of a face that the mesh looks at. `parts`: the parts to refine, of which the eyes take
    longest.
    """
    regions = json.loads(read("mesh_regions.json"))
    return FaceMesh(
        detection.near(confidence),
        load_network("mesh_trunk.tflite", ("input_1",), ("output_mesh", "p_re_lu_3", "conv_faceflag")),
        tuple(_load_part(name, **regions[name]) for name in parts),
    )


def _load_part(name: str, corners: list[int], scale: float, points: list[int]) -> Part:
    square, iris = _SQUARES[name], _IRISES.get(name)
    outputs = (f"conv_{name}", f"conv_{name.replace('eye', 'iris')}") if iris else (f"conv_{name}",)
    network = load_network(f"mesh_{name}.tflite", (square,), outputs)
    return Part(network, (corners[0], corners[1]), scale, np.array(points), iris)


def _framing(points: NDArray[np.float64], part: Part) -> NDArray[np.float64]:
    """Return the square around a part's landmarks as `(2, 3)`, turned so that its corners are level."""
    first, last = points[list(part.corners), :2]
    angle = math.atan2(last[1] - first[1], last[0] - first[0])
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    level = points[part.points, :2] @ turn
    low, high = level.min(0), level.max(0)
    return np.column_stack((turn * (part.scale * (high - low)), turn @ (low + high) / 2))


def _placed(answer: Blob, transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a part's landmarks from pixels of its square to shares of the trunk's view, `(N, 2)`."""
    shares = answer.reshape(-1, 2) / _CROP_PIXELS - 0.5
    return shares @ transform[:, :2].T + transform[:, 2]


def _cells() -> NDArray[np.float64]:
    """Return the centres of the cells of a part's square, `(2, 256)`."""
    y, x = np.mgrid[:_CROP, :_CROP]
    return (np.stack((x, y)).reshape(2, -1) + 0.5) / _CROP - 0.5


_CELLS = _cells()


def _crops(features: Blob, transforms: Transforms) -> list[Blob]:
    """Cut the parts' squares `(1, C, 16, 16)` from the feature map `(C, H, W)`: bilinear, and zero outside."""
    channels, height, width = features.shape
    x, y = ((transforms[:, :, :2] @ _CELLS + transforms[:, :, 2:]) * _FEATURES - 0.5).transpose(1, 0, 2)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = x - left, y - top
    weights = np.stack(((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)) * inside
    cells = np.stack((top * width + left, top * width + right, bottom * width + left, bottom * width + right))
    values = features.reshape(channels, -1).take(cells, axis=1)  # (C, 4, parts, 256)
    squares = (values * weights.astype(np.float32)).sum(1).transpose(1, 0, 2)
    return list(squares.reshape(len(transforms), 1, channels, _CROP, _CROP))
