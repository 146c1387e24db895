import math

import cv2
import numpy as np
import pytest

from dice_talk.face_models.views import View, blob, cut, letterbox, to_picture, whole


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


def test_the_whole_and_the_square_around_it(picture: np.ndarray) -> None:
    assert whole(picture) == View(50, 30, 100, 60)
    assert letterbox(picture) == View(50, 30, 100, 100)


def test_a_view_of_its_own_size_is_the_picture(picture: np.ndarray) -> None:
    assert np.array_equal(cut(picture, View(40, 30, 40, 40), 40, cv2.BORDER_CONSTANT), picture[10:50, 20:60])


def test_what_lies_outside_is_black_or_the_edge(picture: np.ndarray) -> None:
    black, edge = (
        cut(picture, View(0, 30, 40, 40), 40, border) for border in (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE)
    )
    assert not black[:, :19].any() and np.array_equal(black[:, 20:], picture[10:50, :20])
    assert np.array_equal(edge[:, :19], np.repeat(picture[10:50, :1], 19, axis=1))


def test_a_quarter_turn(picture: np.ndarray) -> None:
    picture[:] = np.arange(60, dtype=np.uint8)[:, None, None] + 2 * np.arange(100, dtype=np.uint8)[:, None]
    turned = cut(picture, View(50, 30, 40, 40, math.pi / 2), 40, cv2.BORDER_CONSTANT)
    assert np.abs(turned.astype(int) - np.rot90(picture[10:50, 30:70])).max() <= 2


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_blob_has_channels_first_and_values_up_to_one(low: float) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 1] = (255, 51, 0)
    values = blob(pixels, low)
    assert values.shape == (1, 3, 4, 4) and values.dtype == np.float32
    assert values[0, :, 0, 1] == pytest.approx([1, low + 0.2 * (1 - low), low], abs=1e-5)
    assert values.min() == pytest.approx(low, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_points_of_a_view_come_back_to_where_they_were(picture: np.ndarray, angle: float) -> None:
    """A spot that is seen at a place in the view lies at that place in the picture."""
    view = View(50, 30, 50, 50, angle)
    picture[:] = 0
    picture[36:39, 57:60] = 255
    seen = cut(picture, view, 200, cv2.BORDER_CONSTANT)[..., 0]
    y, x = (np.average(axis, weights=seen) for axis in np.indices(seen.shape))
    points = np.array([[(x + 0.5) / 200, (y + 0.5) / 200, 0.1]], np.float32)
    assert to_picture(points, view)[0] == pytest.approx([58.5, 37.5, 5.0], abs=0.8), "within a pixel"


def test_the_middle_of_a_view_is_its_centre() -> None:
    assert to_picture(np.array([[0.5, 0.5]], np.float32), View(7, 9, 50, 50, 1.0))[0] == pytest.approx([7, 9])
