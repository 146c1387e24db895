import pytest

from dice_talk.errors import InvalidOptions
from dice_talk.face import Box, choose, crop_square, largest, output_size


def test_largest_face_comes_first() -> None:
    small, large = Box(0, 0, 10, 10), Box(0, 0, 20, 20)
    assert largest([small, large]) == [large, small]


def test_a_face_that_is_not_there_is_told_how_many_there_are() -> None:
    assert choose("ab", 1) == "b"
    with pytest.raises(InvalidOptions, match="There is no face 2: 2 faces can be used") as failure:
        choose("ab", 2)
    assert "send 0 to 1" in str(failure.value.detail)
    with pytest.raises(InvalidOptions, match="There is no face 1: 1 face can be used"):
        choose("a", 1)


@pytest.mark.parametrize(
    ("box", "expand", "size", "square"),
    [
        # A centred face: the square is the expanded box.
        (Box(200, 200, 300, 300), 0.5, (500, 500), (150, 150, 350, 350)),
        # At the left edge the box is clamped, so the square is narrower and stays with the face.
        (Box(0, 200, 100, 300), 0.5, (500, 500), (0, 175, 150, 325)),
        # A tall box in a wide picture: the square keeps to the face's centre.
        (Box(400, 0, 500, 300), 1.0, (900, 300), (300, 0, 600, 300)),
        # No margin: the square fits inside the box.
        (Box(10, 20, 50, 80), 0.0, (500, 500), (10, 30, 50, 70)),
        # Larger than the picture in every direction.
        (Box(0, 0, 640, 480), 2.0, (640, 480), (80, 0, 560, 480)),
    ],
)
def test_crop_square(box: Box, expand: float, size: tuple[int, int], square: tuple[int, int, int, int]) -> None:
    assert crop_square(box, expand, *size) == square


@pytest.mark.parametrize(
    ("size", "min_resolution", "expected"),
    [
        ((512, 512), 256, (256, 256)),
        ((640, 480), 512, (704, 512)),
        ((480, 640), 512, (512, 704)),
        ((544, 512), 512, (512, 512)),  # 8.5 steps round to the even 8
        ((608, 512), 512, (640, 512)),  # 9.5 steps round to the even 10
        ((300, 300), 128, (128, 128)),
        ((4000, 3000), 2048, (2752, 2048)),
    ],
)
def test_output_size(size: tuple[int, int], min_resolution: int, expected: tuple[int, int]) -> None:
    assert output_size(*size, min_resolution) == expected


def test_too_large_a_video_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="6144 x 2048"):
        output_size(3000, 1000, 2048)
