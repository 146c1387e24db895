"""Face boxes and the geometry derived from them: crop and output size. Pure arithmetic, shared by both engines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidOptions

if TYPE_CHECKING:
    from dice_talk.image import Pixels  # the service only needs sizes, and starts faster without NumPy

SIZE_STEP = 64
"""Pixels; the diffusion UNet halves its input six times."""
MAX_OUTPUT_SIDE = 4096


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels. Right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    @property
    def middle(self) -> tuple[float, float]:
        """Column and row of the centre."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def contains(self, point: tuple[float, float]) -> bool:
        """Return whether `point` (column, row) lies inside."""
        return self.left <= point[0] < self.right and self.top <= point[1] < self.bottom


Detector = Callable[["Pixels"], list[Box]]
"""Returns the faces in an RGB picture `(H, W, 3)` in any order, or an empty list."""


Face = TypeVar("Face")


def largest(faces: list[Box]) -> list[Box]:
    """Sort faces by area, largest first."""
    return sorted(faces, key=lambda box: box.area, reverse=True)


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union, 0 to 1."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    shared = max(width, 0) * max(height, 0)
    return shared / (a.area + b.area - shared)


def choose(faces: Sequence[Face], index: int) -> Face:
    """Return the face with this `face_index` from `faces`, sorted by size and not empty. Raises `InvalidOptions`."""
    if index < len(faces):
        return faces[index]
    count, last = ("1 face", "0") if len(faces) == 1 else (f"{len(faces)} faces", f"0 to {len(faces) - 1}")
    raise InvalidOptions(
        ErrorCode.NO_SUCH_FACE,
        "There is no face {index}: {faces} can be used in the image",
        "face_index counts from 0, the largest face: send {send}.",
        index=index,
        count=len(faces),
        faces=count,
        send=last,
    )


def crop_square(face: Box, expand_ratio: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the square (left, top, right, bottom) to cut around `face` from a picture of `width` x `height`.

    The face box grows by `expand_ratio` of its size on every side and is clamped to the picture. The largest square in
    it is moved along the longer side towards the centre of the face as far as the box allows.
    """
    left = max(face.left - expand_ratio * face.width, 0)
    top = max(face.top - expand_ratio * face.height, 0)
    right = min(face.right + expand_ratio * face.width, width)
    bottom = min(face.bottom + expand_ratio * face.height, height)
    side = min(right - left, bottom - top)
    left = _slide(left, right, side, (face.left + face.right) / 2)
    top = _slide(top, bottom, side, (face.top + face.bottom) / 2)
    return round(left), round(top), round(left + side), round(top + side)


def _slide(start: float, stop: float, side: float, centre: float) -> float:
    """Return the start of the interval of length `side` in [start, stop] whose middle is nearest to `centre`."""
    return min(max(centre - side / 2, start), stop - side)


def output_size(width: int, height: int, min_resolution: int) -> tuple[int, int]:
    """Return width and height of the video for a picture of `width` x `height`.

    The shorter side becomes `min_resolution`, then both are rounded to multiples of 64 (half to even, as in the
    published code). Raises `InvalidOptions` if a side exceeds 4096 pixels.
    """
    scale = min_resolution / min(width, height)
    size = round(width * scale / SIZE_STEP) * SIZE_STEP, round(height * scale / SIZE_STEP) * SIZE_STEP
    if max(size) > MAX_OUTPUT_SIDE:
        raise InvalidOptions(
            ErrorCode.VIDEO_TOO_LARGE,
            "A video of {width} x {height} pixels is too large",
            "Its longer side may have at most {most}: lower min_resolution, or set crop=true.",
            width=size[0],
            height=size[1],
            most=MAX_OUTPUT_SIDE,
        )
    return size
