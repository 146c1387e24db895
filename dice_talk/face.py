"""Face boxes and the geometry that follows from them: crop, output size. Pure arithmetic, shared by both engines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidOptions

if TYPE_CHECKING:
    from dice_talk.image import Pixels  # the service asks for sizes, and starts sooner without arrays

SIZE_STEP = 64
"""Pixels; the diffusion UNet halves its input six times."""
MAX_OUTPUT_SIDE = 4096


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """In pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """In square pixels."""
        return self.width * self.height

    @property
    def middle(self) -> tuple[float, float]:
        """Column and row."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, point: tuple[float, float]) -> bool:
        """Whether `point` (column, row) lies inside."""
        return self.left <= point[0] < self.right and self.top <= point[1] < self.bottom


Detector = Callable[["Pixels"], list[Box]]
"""Faces in an RGB picture `(H, W, 3)`, in any order; an empty list when there is none."""


Face = TypeVar("Face")


def largest(faces: list[Box]) -> list[Box]:
    """The same faces, largest area first."""
    return sorted(faces, key=lambda box: box.area, reverse=True)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    shared = max(width, 0) * max(height, 0)
    return shared / (a.area + b.area - shared)


def choose(faces: Sequence[Face], index: int) -> Face:
    """The face that `face_index` means; `faces` holds at least one, largest first. Raises `InvalidOptions`."""
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
    """The square (left, top, right, bottom) to cut from a picture of `width` x `height` around `face`.

    The face box grows by `expand_ratio` of its size on every side and is clamped to the picture. The largest square
    in it slides along the longer side towards the face's centre, by at most half of what is left over.
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
    """Where a stretch of `side` begins within [start, stop] when its middle is to be near `centre`."""
    return min(max(centre - side / 2, start), stop - side)


def output_size(width: int, height: int, min_resolution: int) -> tuple[int, int]:
    """Width and height of the video for a picture of `width` x `height`: its shorter side becomes `min_resolution`,
    then both are rounded to multiples of 64 (half to even, as published). Raises `InvalidOptions` above 4096 pixels.
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
