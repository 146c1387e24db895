from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from PIL import Image

from dice_talk.image import load_portrait
from dice_talk.lite.arrays import Floats
from dice_talk.lite.engine import LiteEngine
from dice_talk.lite.models import find_face
from dice_talk.lite.person import find_person, head_from_landmarks
from tests.lite import schematic


@pytest.fixture
def far_away(portrait: Path, tmp_path: Path) -> Path:
    """The example, small at the bottom right of a white canvas, where the mask of the whole picture misses it."""
    picture = Image.open(portrait).convert("RGB")
    picture.thumbnail((200, 200))
    canvas = Image.new("RGB", (900, 900), "white")
    canvas.paste(picture, (900 - picture.width, 900 - picture.height))
    canvas.save(tmp_path / "far.png")
    return tmp_path / "far.png"


def test_the_head_is_found_where_the_mask_of_the_whole_picture_misses_it(engine: LiteEngine, far_away: Path) -> None:
    picture = load_portrait(far_away)
    points = find_face(engine.models, picture, 0).points
    mask = find_person(engine.models, picture, points)
    x, y = points[[10, 152, 1, 50, 280], :2].round().astype(int).T
    assert (mask[y, x] > 0.5).all()
    assert (mask[:450, :450] < 0.5).all()


def test_a_head_by_its_landmarks_holds_hair_and_neck(engine: LiteEngine, portrait: Path) -> None:
    picture = load_portrait(portrait)
    points = find_face(engine.models, picture, 0).points
    head, top, chin = head_from_landmarks(picture, points), points[10, :2], points[152, :2]
    for share in (-0.2, 0.0, 0.5, 1.0, 1.3):
        x, y = (top + share * (chin - top)).round().astype(int)
        assert head[y, x] == 1
    assert 1.5 < head.sum() / np.prod(np.ptp(points[:, :2], axis=0)) < 3


def drawn_face() -> tuple[np.ndarray, np.ndarray]:
    face = schematic.canvas()
    return face.pixels, np.column_stack([face.points, face.depth])


@pytest.mark.parametrize("angle", [0, 40, 180])
def test_a_head_leans_with_its_face(angle: float) -> None:
    picture, points = drawn_face()
    turn = cv2.getRotationMatrix2D((145, 145), angle, 1)[:, :2]
    turned = points.copy()
    turned[:, :2] = (points[:, :2] - 145) @ turn.T + 145
    head = head_from_landmarks(picture, turned)
    up = turn @ (0, -1)
    for height, inside in ((0.65, 1), (0.5, 1), (0.0, 1), (-0.5, 1), (-0.85, 1), (-1.05, 0), (0.85, 0)):
        x, y = (145 + 100 * height * up).round().astype(int)
        assert head[y, x] == inside, height


def test_a_neck_is_narrower_than_a_head() -> None:
    head = head_from_landmarks(*drawn_face())
    assert set(np.unique(head)) == {0, 1}
    assert 0.4 < head[225].sum() / head[145].sum() < 0.7
    assert head[145].sum() > 2 * 0.38 * 100


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_mask_of_the_whole_picture_is_enough_where_it_has_the_face(engine: LiteEngine, share: float) -> None:
    """Where it has not, and the closer look neither, the landmarks say where the head is."""
    picture, points = drawn_face()
    looks: list[tuple[int, ...]] = []

    def segment(part: np.ndarray) -> np.ndarray:
        looks.append(part.shape)
        return np.full(part.shape[:2], share, np.float32)

    mask = find_person(replace(engine.models, segmenter=cast(Any, segment)), picture, points)
    assert len(looks) == (1 if share else 2)
    assert np.array_equal(mask, np.ones_like(mask) if share else head_from_landmarks(picture, points))


def test_the_closer_look_is_put_back_where_it_was_taken(engine: LiteEngine) -> None:
    """The network sees only what is bright here, and that in the closer look alone."""
    picture, points = drawn_face()
    picture[100:110, 120:140] = 255
    looks: list[np.ndarray] = []

    def segment(part: np.ndarray) -> np.ndarray:
        looks.append(part)
        found: Floats = (part.min(axis=2) > 250).astype(np.float32) * np.float32(len(looks) > 1)
        return found

    mask = find_person(replace(engine.models, segmenter=cast(Any, segment)), picture, points)
    assert looks[1].shape[0] == looks[1].shape[1] == round(3 * np.linalg.norm(points[10, :2] - points[152, :2]))
    found = mask - head_from_landmarks(picture, points)
    assert (mask[100:110, 120:140] == 1).all() and not found.clip(0).any()
