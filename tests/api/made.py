"""Renders, tasks and uploads as the tests of the service's parts need them."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from api.storage.files import Attempt, OpenVideo, RenderFiles, Upload
from api.tasks.model import Render, Task
from api.tasks.store import TaskStore
from dice_talk.options import RenderOptions

NOW = datetime(2030, 1, 1, 12)
IMAGE, AUDIO = b"a portrait", b"a recording"


def make_render(render_id: str = "a", **changes: Any) -> Render:
    """A render that waits."""
    options = RenderOptions(emotion="sad", seed=5)
    return replace(Render(render_id, options, "lite", None, 1.0, NOW, NOW, pixels=256 * 256), **changes)


def make_task(task_id: str = "a", owner: str | None = None, render: Render | None = None, **changes: Any) -> Task:
    """A task with a render of its own, or a claim on `render`."""
    return replace(Task(task_id, NOW, render or make_render(task_id), owner), **changes)


@contextmanager
def staged(files: RenderFiles, image: bytes = IMAGE, audio: bytes = AUDIO) -> Iterator[Upload]:
    """An upload that waits to be accepted."""
    with files.staging() as staging:
        for field, data in (("image", image), ("audio", audio)):
            staging.path(field).write_bytes(data)
        yield staging.upload(*(hashlib.sha256(data).hexdigest() for data in (image, audio)))


def work(files: RenderFiles, attempt: Attempt, *, video: bytes | None = None, state: bytes | None = None) -> None:
    """Write an attempt's output, its state or both, as an engine does."""
    with files.workspace(attempt) as workspace:
        for path, data in ((workspace.output, video), (workspace.state, state)):
            if data is not None:
                path.write_bytes(data)


def state_of(files: RenderFiles, render_id: str) -> bytes | None:
    """The saved state that the next attempt would resume from."""
    with files.workspace(files.begin(render_id)) as workspace:
        return workspace.state.read_bytes() if workspace.state.exists() else None


def inputs_of(files: RenderFiles, render_id: str) -> tuple[bytes, bytes]:
    with files.workspace(files.begin(render_id)) as workspace:
        return workspace.image.read_bytes(), workspace.audio.read_bytes()


def has_output(files: RenderFiles, attempt: Attempt) -> bool:
    """Whether something that the attempt wrote is left in the storage."""
    try:
        files.commit(attempt)
    except FileNotFoundError:
        return False
    return True


def video_of(files: RenderFiles, render_id: str) -> bytes:
    """What a download gives."""
    return asyncio.run(read_all(files.open_video(render_id)))


async def read_all(video: OpenVideo) -> bytes:
    try:
        return await video.read(video.size)
    finally:
        video.close()


def upload(files: RenderFiles, render_id: str, image: bytes = IMAGE, audio: bytes = AUDIO) -> None:
    """Make an upload the input of a new render."""
    with staged(files, image, audio) as uploaded:
        files.accept(uploaded, render_id)


def accept(store: TaskStore, files: RenderFiles, render_id: str, owner: str | None = None, **changes: Any) -> Render:
    """Store a task with a render of its own and its files, as `Admission` does."""
    upload(files, render_id)
    return store.add(make_task(render_id, owner, make_render(render_id, **changes)))
