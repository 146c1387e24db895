"""The face mesh with attention: 478 landmarks of a face, those of lips, eyes and irises from a closer look.

The trunk gives 468 landmarks and a feature map. For lips and both eyes a turned square of that map, framed by the first
landmarks, goes through a network of its own, which places the landmarks there anew.
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
"""Cells of a part's square of the feature map, and the pixels of it in which a part's network answers."""
_SQUARES = {
    "lips": "transform_tensor_bilinear_v2",
    "left_eye": "transform_tensor_bilinear_v2_1",
    "right_eye": "transform_tensor_bilinear_v2_2",
}
"""Names of the networks' inputs."""
_IRISES = {"left_eye": slice(468, 473), "right_eye": slice(473, 478)}
_EYE_CONTOUR = 16
"""The first so many of an eye's landmarks lie around its opening: the iris takes its depth from them."""
_FACE_PRESENT = 0.5

Transforms = NDArray[np.float64]
"""`(N, 2, 3)`: from shares of a part's square, each in [-.5, .5], to shares of the trunk's view."""


LIPS = ("lips",)
ALL_PARTS = ("lips", "left_eye", "right_eye")


@dataclass(frozen=True)
class Part:
    """Lips or an eye."""

    network: Network  # its outputs: the landmarks, and the iris where there is one
    corners: tuple[int, int]  # landmarks that lie level in its square
    scale: float  # of the square to what its landmarks take up
    points: NDArray[np.intp]
    iris: slice | None


@dataclass(frozen=True)
class FaceMesh:
    """A loaded mesh. Not to be shared between threads."""

    detector: FaceDetector
    trunk: Network
    parts: tuple[Part, ...]

    def __call__(self, picture: Pixels, most: int) -> list[Points]:
        """Landmarks `(478, 3)` of the `most` surest faces in an RGB picture, where the mesh sees one too."""
        seen = (self.look(picture, face_view(face)) for face in self.detector(picture)[:most])
        return [points for points in seen if points is not None]

    def find(self, picture: Pixels) -> View | None:
        """Where to look for the surest face in an RGB picture; None where the detector sees none."""
        faces = self.detector(picture)
        return face_view(faces[0]) if faces else None

    def look(self, picture: Pixels, view: View) -> Points | None:
        """The landmarks `(478, 3)` of the face in a view, in the picture's pixels; None where there is no face.

        Irises are `nan` where their eye is not among `parts`.
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
        """Replaces the landmarks of each part, and adds the irises."""
        transforms = np.stack([_framing(points, part) for part in self.parts])
        for part, transform, crop in zip(self.parts, transforms, _crops(features, transforms), strict=True):
            outline, *iris = part.network(crop)
            points[part.points, :2] = _placed(outline, transform)
            if part.iris:
                points[part.iris, :2] = _placed(iris[0], transform)
                points[part.iris, 2] = points[part.points[:_EYE_CONTOUR], 2].mean()


def load_mesh(confidence: float, parts: Sequence[str] = ALL_PARTS) -> FaceMesh:
    """The mesh with the detector for close-ups, and a closer look at `parts`: a look at the eyes takes longest.

    `confidence`: of the least certain face that the mesh looks at.
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
    """`(2, 3)`: the square around a part's landmarks, turned so that its corners lie level."""
    first, last = points[list(part.corners), :2]
    angle = math.atan2(last[1] - first[1], last[0] - first[0])
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    level = points[part.points, :2] @ turn
    low, high = level.min(0), level.max(0)
    return np.column_stack((turn * (part.scale * (high - low)), turn @ (low + high) / 2))


def _placed(answer: Blob, transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """A part's landmarks (pixels of its square) as shares of the trunk's view, `(N, 2)`."""
    shares = answer.reshape(-1, 2) / _CROP_PIXELS - 0.5
    return shares @ transform[:, :2].T + transform[:, 2]


def _cells() -> NDArray[np.float64]:
    """Centres of the cells of a part's square, `(2, 256)`."""
    y, x = np.mgrid[:_CROP, :_CROP]
    return (np.stack((x, y)).reshape(2, -1) + 0.5) / _CROP - 0.5


_CELLS = _cells()


def _crops(features: Blob, transforms: Transforms) -> list[Blob]:
    """The parts' squares `(1, C, 16, 16)` of the feature map `(C, H, W)`: bilinear, zero outside."""
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
