"""Posters are made once, of a video that is there."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.errors import TaskNotFound
from api.inspection.posters import poster_of
from api.storage.local import LocalFiles
from dice_talk.video import VideoWriter
from tests.api.made import upload
from tests.api.storage.memory import MemoryFiles


def write_video(path: Path) -> None:
    sound = np.zeros((24_000, 2), np.float32)
    with VideoWriter(path, width=128, height=64, fps=8, frames=8, sound=sound, rate=24_000, metadata={}) as writer:
        for number in range(8):
            writer.write(np.full((64, 128, 3), 30 * number, np.uint8))


def finish(files: LocalFiles | MemoryFiles) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    with files.workspace(attempt) as workspace:
        write_video(workspace.output)
    files.commit(attempt)


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_the_frame_in_the_middle(kind: str, files: LocalFiles, tmp_path: Path) -> None:
    store = files if kind == "folder" else MemoryFiles(tmp_path)
    finish(store)
    picture = poster_of(store, "a")
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size) == ("JPEG", (128, 64))
        assert abs(np.asarray(image).mean() - 30 * 4) < 12
    assert store.load("a", "poster") == picture
    store.keep("a", "poster", b"kept")
    assert poster_of(store, "a") == b"kept", "it is not made twice"


def test_a_video_that_is_gone(files: LocalFiles) -> None:
    upload(files, "a")
    with pytest.raises(TaskNotFound):
        poster_of(files, "a")


def test_one_that_cannot_be_kept_is_given_all_the_same(files: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(files)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "keep", fail)
    assert poster_of(files, "a").startswith(b"\xff\xd8")
    assert files.load("a", "poster") is None
