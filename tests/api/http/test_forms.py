"""Forms that carry files, as the routes get them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import UploadFile
from pydantic import ValidationError

from api.http.forms import PreflightForm, RenderForm, VideoForm, stored
from api.http.uploads import StoredFile
from dice_talk.emotions import Emotion
from dice_talk.options import PREFLIGHT_OPTIONS, TIMING_OPTIONS, RenderOptions


@pytest.fixture
def image(tmp_path: Path) -> Iterator[StoredFile]:
    file = StoredFile(tmp_path / "image")
    file.append(b"a portrait")
    yield file
    file.file.close()


@pytest.fixture
def audio(tmp_path: Path) -> Iterator[StoredFile]:
    file = StoredFile(tmp_path / "audio")
    file.append(b"a recording")
    yield file
    file.file.close()


def test_the_two_files_of_a_task(image: StoredFile, audio: StoredFile) -> None:
    form = RenderForm(image=image, audio=audio, emotion=Emotion.SAD, fps=30)
    upload = form.upload()
    assert (upload.image, upload.audio) == (image.path, audio.path)
    assert (upload.image_hash, upload.audio_hash) == (image.sha256, audio.sha256)
    assert form.options() == RenderOptions(emotion=Emotion.SAD, fps=30)


def test_preflight_takes_what_changes_its_answer(image: StoredFile) -> None:
    form = PreflightForm(image=image, crop=True, min_resolution=512, fps=30)
    assert form.paths() == (image.path, None)
    options = form.options()
    assert (options.crop, options.min_resolution, options.fps) == (True, 512, 30)
    taken = set(PreflightForm.model_fields) - {"image", "audio", "engine"}
    assert taken == {*PREFLIGHT_OPTIONS, *TIMING_OPTIONS}
    for name in ("emotion", "seed", "ref_scale"):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            PreflightForm.model_validate({"image": image, name: "1"})


def test_preflight_needs_no_file(audio: StoredFile) -> None:
    assert PreflightForm().paths() == (None, None)
    assert PreflightForm(audio=audio).paths() == (None, audio.path)


def test_a_video_and_nothing_else(image: StoredFile) -> None:
    assert VideoForm(video=image).video is image
    with pytest.raises(ValidationError):
        VideoForm.model_validate({"video": image, "emotion": "sad"})


def test_a_file_that_the_framework_has_read_is_a_fault_of_ours(image: StoredFile) -> None:
    assert stored(image) is image
    with pytest.raises(TypeError, match="not read by receive_form"):
        stored(UploadFile(image.file))
