from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dice_talk.detect import find_faces, load_detector
from dice_talk.face import Box
from dice_talk.image import Pixels, load_portrait

GREY = np.full((600, 800, 3), 127, np.uint8)


def marked(left: int, top: int, side: int, height: int = 600, width: int = 800) -> Pixels:
    """A black picture with one white square."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top : top + side, left : left + side] = 255
    return picture


def sees_squares(smallest: float) -> Callable[[Pixels], list[Box]]:
    """A detector that sees the white square when it takes up at least a share of what it is shown."""

    def look(picture: Pixels) -> list[Box]:
        y, x = np.nonzero(picture[..., 0] > 200)
        if len(x) < smallest * picture[..., 0].size:
            return []
        return [Box(float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))]

    return look


def test_a_face_seen_at_once_is_returned_in_the_pictures_pixels() -> None:
    (box,) = find_faces(marked(100, 200, 50), sees_squares(0.001))
    assert (box.left, box.top, box.right, box.bottom) == (100, 200, 150, 250)


def test_a_huge_picture_is_looked_at_small_and_answered_large() -> None:
    shapes = []
    look = sees_squares(0.001)

    def spy(picture: Pixels) -> list[Box]:
        shapes.append(picture.shape)
        return look(picture)

    (box,) = find_faces(marked(1000, 2000, 500, 3000, 4000), spy)
    assert max(shapes[0]) == 1280
    assert abs(box.left - 1000) < 8 and abs(box.top - 2000) < 8 and abs(box.width - 500) < 16


def test_a_small_face_is_found_in_an_enlarged_tile() -> None:
    (box,) = find_faces(marked(612, 433, 20), sees_squares(0.005))
    assert (round(box.left), round(box.top), round(box.width)) == (612, 433, 20)


def test_a_face_that_fills_the_picture_is_found_by_showing_it_with_margins() -> None:
    def look(picture: Pixels) -> list[Box]:
        height, width = picture.shape[:2]
        return [Box(400, 300, 1200, 900)] if (height, width) == (1200, 1600) else []

    (box,) = find_faces(GREY, look)
    assert (box.left, box.top, box.right, box.bottom) == (0, 0, 800, 600)


def test_two_views_of_one_face_count_once_and_two_faces_twice() -> None:
    def look(picture: Pixels) -> list[Box]:
        return [Box(100, 100, 200, 200), Box(105, 98, 204, 201), Box(400, 100, 500, 200)]

    assert [box.left for box in find_faces(GREY, look)] == [100, 400]


def test_nothing_anywhere_is_an_empty_list() -> None:
    assert find_faces(GREY, lambda picture: []) == []


@pytest.fixture(scope="module")
def detector() -> Callable[[Pixels], list[Box]]:
    return load_detector()


def test_the_example_portrait_has_one_face(detector: Callable[[Pixels], list[Box]], portrait: Path) -> None:
    picture = load_portrait(portrait)
    (box,) = detector(picture)
    assert 0.02 < box.area / (picture.shape[0] * picture.shape[1]) < 0.8


def test_a_face_of_40_pixels_in_a_large_picture_is_found(
    detector: Callable[[Pixels], list[Box]], portrait: Path
) -> None:
    picture = load_portrait(portrait)
    (box,) = detector(picture)
    small = cv2.resize(picture, None, fx=40 / box.height, fy=40 / box.height, interpolation=cv2.INTER_AREA)
    scene = np.full((1400, 1800, 3), 90, np.uint8)
    scene[900 : 900 + small.shape[0], 1200 : 1200 + small.shape[1]] = small
    faces = detector(scene)
    assert len(faces) == 1
    assert abs((faces[0].left + faces[0].right) / 2 - 1200 - (box.left + box.right) / 2 * 40 / box.height) < 15


def test_a_picture_without_a_face_gives_none(detector: Callable[[Pixels], list[Box]]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    assert detector(cv2.blur(noise, (25, 25))) == []
