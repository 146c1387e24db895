"""Both sides of every threshold, with the example portrait made worse step by step."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dice_talk.face import crop_square, output_size
from dice_talk.image import Pixels, load_portrait
from dice_talk.lite.models import FaceModels, find_face, load_face_models
from dice_talk.options import RenderOptions
from dice_talk.portrait_check import PortraitFacts, check_portrait

Change = Callable[[Pixels], Pixels]
CROP = RenderOptions(emotion="neutral", crop=True)


@pytest.fixture(scope="module")
def models() -> FaceModels:
    return load_face_models()


@pytest.fixture(scope="module")
def picture(portrait: Path) -> Pixels:
    return load_portrait(portrait)


def check(
    models: FaceModels, picture: Pixels, options: RenderOptions = CROP, needs_landmarks: bool = True
) -> tuple[PortraitFacts, list[str]]:
    facts, advice = check_portrait(models, np.ascontiguousarray(picture), options, needs_landmarks=needs_landmarks)
    return facts, [one.code for one in advice]


def brighter(factor: float) -> Change:
    return lambda picture: (picture * factor).clip(0, 255).astype(np.uint8)


def blurred(pixels: float) -> Change:
    return lambda picture: cv2.GaussianBlur(picture, (0, 0), pixels)


def smaller(scale: float) -> Change:
    return lambda picture: cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def turned(degrees: float) -> Change:
    matrix = cv2.getRotationMatrix2D((186, 126), degrees, 1)
    return lambda picture: cv2.warpAffine(picture, matrix, (360, 360), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (brighter(1), []),
        (brighter(0.4), []),
        (brighter(0.25), ["dark_face"]),
        (brighter(1.6), ["glaring_face"]),
        (blurred(0.5), []),
        (blurred(2.5), ["blurred_face"]),
        (smaller(0.85), []),
        (smaller(0.5), ["small_face"]),
        (turned(12), []),
        (turned(30), ["tilted_face"]),
        (turned(-30), ["tilted_face"]),
        (lambda picture: picture[:, 100:], []),
        (lambda picture: picture[20:320, 142:], ["small_face", "face_at_edge"]),
        (np.zeros_like, ["no_face"]),
    ],
)
def test_what_a_person_is_told(models: FaceModels, picture: Pixels, change: Change, found: list[str]) -> None:
    assert check(models, change(picture))[1] == found


def test_crop_and_size_are_those_of_the_engine(models: FaceModels, picture: Pixels) -> None:
    facts, _ = check(models, picture)
    face = find_face(models, picture, 0).box
    square = crop_square(face, 0.5, 360, 360)
    assert facts.crop
    assert (facts.crop.left, facts.crop.top, facts.crop.right, facts.crop.bottom) == square
    assert facts.output == output_size(square[2] - square[0], square[3] - square[1], 256)
    whole, _ = check(models, picture, RenderOptions(emotion="neutral", min_resolution=512))
    assert (whole.crop, whole.output) == (None, (512, 512))


@pytest.fixture(scope="module")
def group(picture: Pixels) -> Pixels:
    """The same face large, and small and mirrored."""
    half = cv2.resize(picture, (180, 180), interpolation=cv2.INTER_AREA)[:, ::-1]
    small = cv2.copyMakeBorder(half, 90, 90, 90, 90, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    return np.hstack([picture, small])


def test_several_faces_are_counted_from_the_largest(models: FaceModels, group: Pixels) -> None:
    facts, found = check(models, group)
    assert [round(face.height / 60) for face in facts.faces] == [2, 1]
    assert found[0] == "several_faces" and facts.chosen is facts.faces[0]
    second = CROP.model_copy(update={"face_index": 1})
    facts, found = check(models, group, second)
    assert facts.chosen is facts.faces[1]
    assert "several_faces" not in found
    assert facts.crop and facts.crop.left > 360


def test_a_face_that_is_not_there_is_told_without_failing(models: FaceModels, group: Pixels) -> None:
    facts, advice = check_portrait(models, group, CROP.model_copy(update={"face_index": 2}), needs_landmarks=True)
    assert (facts.chosen, facts.crop, len(facts.faces)) == (None, None, 2)
    assert advice[0].code == "no_such_face" and advice[0].blocking
    assert "2 faces" in advice[0].message


def test_what_makes_rendering_fail_is_blocking(models: FaceModels, picture: Pixels) -> None:
    wide = cv2.copyMakeBorder(picture, 0, 0, 360, 360, cv2.BORDER_REPLICATE)
    facts, advice = check_portrait(
        models, wide, RenderOptions(emotion="neutral", min_resolution=2048), needs_landmarks=True
    )
    assert facts.output is None
    (one,) = [one for one in advice if one.code == "video_too_large"]
    assert one.blocking and "4096" in one.message


def test_a_small_face_in_a_large_scene_is_told_to_be_cropped(models: FaceModels, picture: Pixels) -> None:
    scene = cv2.copyMakeBorder(picture, 300, 300, 300, 300, cv2.BORDER_REPLICATE)
    facts, advice = check_portrait(models, scene, RenderOptions(emotion="neutral"), needs_landmarks=True)
    assert facts.faces
    assert ["crop=true" in one.message for one in advice if one.code == "face_small_in_video"] == [True]


def test_diffusion_takes_faces_without_landmarks(models: FaceModels, picture: Pixels) -> None:
    """A hand over the features: the detector sees a face all the same, or it does not; both engines are told alike."""
    assert len(check(models, picture, needs_landmarks=False)[0].faces) == len(check(models, picture)[0].faces) == 1
