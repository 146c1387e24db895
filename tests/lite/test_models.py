import cv2
import numpy as np

from dice_talk.face import Box
from dice_talk.image import Pixels
from dice_talk.lite.engine import LiteEngine
from dice_talk.lite.models import landmarks


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
