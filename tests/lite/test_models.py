from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dice_talk.errors import InvalidOptions
from dice_talk.face import Box, iou
from dice_talk.image import Pixels, load_portrait
from dice_talk.lite.engine import LiteEngine
from dice_talk.lite.models import find_face, landmarks, window


def drawing() -> Pixels:
    """Two dots and a line: the mesh takes it for a face at its first look."""
    picture = np.full((300, 300, 3), 230, np.uint8)
    cv2.circle(picture, (150, 150), 70, (250, 210, 60), -1)
    cv2.circle(picture, (150, 150), 70, (40, 30, 0), 3)
    for x in (124, 176):
        cv2.ellipse(picture, (x, 133), (8, 14), 0, 0, 360, (30, 20, 0), -1)
    cv2.ellipse(picture, (150, 157), (38, 21), 0, 20, 160, (30, 20, 0), 5)
    return picture


def test_what_is_no_face_at_the_second_look_has_no_landmarks(engine: LiteEngine) -> None:
    assert landmarks(engine.models, drawing(), Box(80, 80, 220, 220)) is None


@pytest.mark.parametrize("top", [-90, -20, -19, -5, 0, 7, 30, 49, 50, 90])
@pytest.mark.parametrize("left", [-90, -20, -5, 3, 60, 70, 200])
def test_a_window_repeats_the_edge_wherever_it_lies(top: int, left: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    rows, columns = np.arange(top, top + 20).clip(0, 49), np.arange(left, left + 20).clip(0, 69)
    assert np.array_equal(window(picture, left, top, 20), picture[rows[:, None], columns])


def test_a_face_that_two_boxes_show_is_one_face_and_moves(engine: LiteEngine, portrait: Path) -> None:
    """A detector may give the same face twice, or a box around several people."""
    picture = load_portrait(portrait)
    found = find_face(engine.models, picture, 0)
    middle, (height, width) = found.box.middle, picture.shape[:2]
    small = Box(middle[0] - 20, middle[1] - 20, middle[0] + 20, middle[1] + 20)
    around = Box(0, 0, width, height)
    seeing = replace(engine.models, detector=lambda _: [around, found.box, small])
    again = find_face(seeing, picture, 0)
    assert again.others == []
    assert iou(again.box, found.box) > 0.5
    with pytest.raises(InvalidOptions, match="1 face can be used"):
        find_face(seeing, picture, 1)
