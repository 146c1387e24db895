"""Renders, tasks and uploads as the tests of the service's parts need them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from api.storage.files import RenderFiles, Upload
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
    with files.staging() as folder:
        for name, data in (("image", image), ("audio", audio)):
            (folder / name).write_bytes(data)
        yield files.upload(folder, *(hashlib.sha256(data).hexdigest() for data in (image, audio)))


def upload(files: RenderFiles, render_id: str) -> None:
    """Make an upload the input of a new render."""
    with staged(files) as uploaded:
        files.accept(uploaded, render_id)


def accept(store: TaskStore, files: RenderFiles, render_id: str, owner: str | None = None, **changes: Any) -> Render:
    """Store a task with a render of its own and its files, as `Admission` does."""
    upload(files, render_id)
    return store.add(make_task(render_id, owner, make_render(render_id, **changes)))
