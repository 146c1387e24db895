"""The face models give what MediaPipe 0.10.21 gave: on variants of the example portrait, and on the pictures in
DICE_TALK_FACE_REFERENCE (a folder with reference.npz and the pictures it names), when that is set.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dice_talk import face_models
from dice_talk.face_models import Detection, FaceDetector, FaceMesh, PersonSegmenter
from dice_talk.image import Pixels
from tests.face_models.pictures import picture_in, variants

Reference = dict[str, NDArray[np.float32]]

OWN = Path(__file__).parent.parent / "data" / "face_models" / "reference.npz"
FOREIGN = os.environ.get("DICE_TALK_FACE_REFERENCE")
BOX, MEAN, MOST = 0.1, 0.05, 0.3
"""Pixels by which boxes may differ, and landmarks on average and at most."""
SCORE = 1e-4
MASK = 2
"""Levels of 255."""


def names(file: Path) -> list[str]:
    with np.load(file) as arrays:
        return sorted({key.rpartition(":")[0] for key in arrays})


CASES = [("", name) for name in names(OWN)] + (
    [(FOREIGN, name) for name in names(Path(FOREIGN) / "reference.npz")] if FOREIGN else []
)


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return face_models.load_mesh(confidence=0.3)


@pytest.fixture(scope="module")
def detectors() -> list[FaceDetector]:
    return [face_models.near(confidence=0.5), face_models.far()]


@pytest.fixture(scope="module")
def segmenter() -> PersonSegmenter:
    return face_models.load_segmenter()


@pytest.fixture(scope="module")
def own_pictures(portrait: Path) -> dict[str, Pixels]:
    return variants(portrait)


@pytest.fixture(params=CASES, ids=lambda case: "/".join(filter(None, case)))
def case(request: pytest.FixtureRequest, own_pictures: dict[str, Pixels]) -> tuple[Pixels, Reference]:
    """A picture and what MediaPipe gave for it, by kind."""
    folder, name = request.param
    picture = picture_in(Path(folder), name) if folder else own_pictures[name]
    with np.load(Path(folder) / "reference.npz" if folder else OWN) as arrays:
        found = {key.rpartition(":")[2]: arrays[key] for key in arrays if key.rpartition(":")[0] == name}
    return picture, found


@pytest.mark.parity
def test_detectors(case: tuple[Pixels, Reference], detectors: list[FaceDetector]) -> None:
    picture, reference = case
    for number, detector in enumerate(detectors):
        expected = from_left(reference[f"detector{number}"])
        found = from_left(np.array([row(face) for face in detector(picture)], np.float32).reshape(-1, 17))
        assert found.shape == expected.shape
        np.testing.assert_allclose(np.delete(found, 4, axis=1), np.delete(expected, 4, axis=1), rtol=0, atol=BOX)
        np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=0, atol=SCORE)


@pytest.mark.parity
def test_mesh(case: tuple[Pixels, Reference], mesh: FaceMesh) -> None:
    picture, reference = case
    expected = from_left(reference["mesh"])
    found = from_left(np.array(mesh(picture, most=2), np.float32).reshape(-1, 478, 3))
    assert found.shape == expected.shape
    for face, other in zip(found, expected, strict=True):
        away = np.linalg.norm(face - other, axis=1)
        assert away.mean() <= MEAN and away.max() <= MOST


@pytest.mark.parity
def test_mask(case: tuple[Pixels, Reference], segmenter: PersonSegmenter) -> None:
    picture, reference = case
    expected = reference["mask"].astype(int)
    mask = segmenter(picture)
    assert mask.shape == picture.shape[:2]
    found = cv2.resize(mask, expected.shape[::-1], interpolation=cv2.INTER_AREA) * 255
    assert np.abs(found.round().astype(int) - expected).max() <= MASK


def row(face: Detection) -> list[float]:
    box = face.box
    return [box.left, box.top, box.right, box.bottom, face.score, *face.key_points.ravel().tolist()]


def from_left(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """In an order that does not depend on which of two faces is a hair surer."""
    return faces[np.argsort(faces.reshape(len(faces), -1)[:, 0])] if len(faces) else faces


def test_a_name_without_a_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'nobody', and .* holds no such picture"):
        picture_in(tmp_path, "nobody")
