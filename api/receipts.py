"""What a finished video was made of, by what, and how good it is: hashes, options, versions, times, figures."""

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from api.children import ChildFailed, Children
from api.errors import TaskNotFound
from api.files import keep, sha256_of
from api.places import Places
from api.schemas import WEIGHTS, FoundLabels, Timestamp
from api.settings import Settings
from api.storage import render_folder
from api.tasks import Render, Task
from dice_talk import __version__
from dice_talk.engine import weight_files, weights_of
from dice_talk.errors import DiceTalkError

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long an answer waits for what is being measured."""
MEASURE_S = 600.0
"""Ten seconds as a rule; many times that where every core renders, for measuring gives way."""
DIGEST_S = 60.0
FILES = ("image", "audio", "result.mp4")
MEASURED, POSTER = "measured.json", "poster.jpg"
"""Kept beside the video."""


class StoredImage(BaseModel):
    """The portrait as it was sent."""

    sha256: str
    bytes: int
    width: int = Field(description="Pixels, upright.", examples=[360])
    height: int = Field(examples=[360])


class StoredAudio(BaseModel):
    """The recording as it was sent."""

    sha256: str
    bytes: int
    seconds: float = Field(description="In all, also what was not used.", examples=[8.25])


class ReceiptInputs(BaseModel):
    """What the video was made from."""

    image: StoredImage
    audio: StoredAudio


class ReceiptWeights(BaseModel):
    """What the engine had learned."""

    label: str | None = Field(description=WEIGHTS, examples=[None])
    sha256: dict[str, str | None] = Field(
        description="By file; null for one that has been changed since, or is gone.",
        examples=[{"pocketsphinx/model/en-us/en-us-phone.lm.bin": "0b1c..."}],
    )


class ReceiptTimings(BaseModel):
    """When, and how long. Of a task that shares a render, from when it joined it."""

    created_at: Timestamp = Field(description="UTC, as all times.", examples=["2024-01-15T10:30:00"])
    started_at: Timestamp | None = Field(description="Of the last attempt.", examples=["2024-01-15T10:30:02"])
    finished_at: Timestamp | None = Field(examples=["2024-01-15T10:30:04"])
    queued_seconds: float = Field(description="Until the last attempt began.", examples=[2.0])
    render_seconds: float = Field(examples=[2.1])
    attempts: int = Field(examples=[1])


class ReceiptResult(BaseModel):
    """What the video holds."""

    width: int = Field(examples=[256])
    height: int = Field(examples=[256])
    fps: int = Field(examples=[24])
    frames: int = Field(examples=[198])
    seconds: float = Field(examples=[8.25])
    bytes: int
    sha256: str


class ReceiptMeasured(BaseModel):
    """Found by looking at the finished video, as a stranger would. null for what can't be measured."""

    frames: int = Field(description="Looked at, from the start.", examples=[198])
    face_found_share: float = Field(description="Of those frames; 0 to 1.", examples=[1.0])
    lip_lag_frames: int | None = Field(description="Positive: the lips are late.", examples=[0])
    lip_correlation: float | None = Field(
        description="Between the opening of the lips and the loudness of the sound, at that lag; 1 at most.",
        examples=[0.78],
    )
    identity_similarity: float | None = Field(
        description="Cosine between what a face recogniser makes of the portrait and of the video.", examples=[None]
    )
    why_not: list[str] = Field(
        description="Why something is null.",
        examples=[["Identity can't be compared: this server has no insightface models"]],
    )


class Receipt(BaseModel):
    """Of one finished task."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    inputs: ReceiptInputs
    options: dict[str, Any] = Field(
        description="All of them; seed is the one in effect.", examples=[{"emotion": "happy", "seed": 12345}]
    )
    engine: str = Field(examples=["lite"])
    weights: ReceiptWeights
    versions: dict[str, str] = Field(
        description="Of this software, the engine, Python and the packages behind the result, when it was made.",
        examples=[{"dice-talk-server": __version__, "lite-engine": "1", "python": "3.11.9"}],
    )
    timings: ReceiptTimings
    result: ReceiptResult
    labels: FoundLabels | None = Field(description="Read from the file; null where an earlier release looked at it.")
    measured: ReceiptMeasured | None = Field(description="null while it is being measured: ask again a little later.")


Measuring = tuple[dict[str, Any], "asyncio.Task[dict[str, Any]]"]
"""What is known already, and what finds the rest."""


class Receipts:
    """Writes them on demand. What takes time is done once, for one video at a time, and kept beside it."""

    def __init__(self, settings: Settings, children: Children) -> None:
        self._settings, self._children = settings, children
        self._places, self._one_at_a_time = Places(), asyncio.Lock()
        self._measuring: dict[str, Measuring] = {}  # by the render's id
        self._closed = False

    async def of(self, task: Task) -> Receipt:
        """Of a task whose video is there. Raises `TaskNotFound` when it goes meanwhile."""
        render, checkpoints = task.render, self._settings.checkpoints_dir
        try:
            found = await self._found(render)
        except FileNotFoundError:
            raise TaskNotFound from None
        except (ChildFailed, DiceTalkError):
            if await asyncio.to_thread(_is_whole, render_folder(self._settings, render.id)):
                raise
            raise TaskNotFound from None
        hashes = await asyncio.to_thread(_weight_hashes, render, checkpoints)
        result = dict(render.result)
        versions = result.pop("versions", {})
        return Receipt(
            task_id=task.id,
            inputs=ReceiptInputs(image=found["image"], audio=found["audio"]),
            options=render.options.model_dump(mode="json"),
            engine=render.engine,
            weights=ReceiptWeights(label=weights_of(render.engine, checkpoints), sha256=hashes),
            versions=versions,
            timings=_timings(task),
            result=ReceiptResult(**result, **found["video"]),
            measured=found.get("measured"),
            labels=_labels(found.get("labels")),
        )

    async def _found(self, render: Render) -> dict[str, Any]:
        """What child processes say of the render's files; without `measured` where that takes its time."""
        folder = render_folder(self._settings, render.id)
        if kept := await asyncio.to_thread(_read, folder / MEASURED):
            return kept
        known = self._measuring.get(render.id)
        if known is None:
            async with self._places.one():
                paths = [str(folder / name) for name in FILES]
                digests = await self._children.ask("dice_talk.digest", *paths, seconds=DIGEST_S)
            if not {"image", "audio", "video"} <= digests.keys():  # it took too long
                raise ChildFailed
            if self._closed:
                return digests
            known = self._measuring.get(render.id) or self._begin(folder, render, digests)
        digests, measuring = known
        done, _ = await asyncio.wait({measuring}, timeout=PATIENCE_S)
        return measuring.result() if done and not measuring.cancelled() else digests  # or raises what it raised

    def _begin(self, folder: Path, render: Render, digests: dict[str, Any]) -> "Measuring":
        measuring = asyncio.create_task(self._measure(folder, render, digests))
        measuring.add_done_callback(lambda done: self._forget(render.id, done))
        self._measuring[render.id] = digests, measuring
        return digests, measuring

    def _forget(self, render_id: str, measuring: "asyncio.Task[dict[str, Any]]") -> None:
        del self._measuring[render_id]
        error = None if measuring.cancelled() else measuring.exception()  # nobody may wait for it any more
        if error and not isinstance(error, FileNotFoundError):  # a task that was removed meanwhile is no news
            log.warning("the video of render %s could not be measured: %r", render_id, error)

    async def close(self) -> None:
        """Gives up what is being measured: whoever waits for it is told the rest, and may ask again."""
        self._closed = True
        measuring = {task for _, task in self._measuring.values()}
        for one in measuring:
            one.cancel()
        if measuring:
            await asyncio.wait(measuring)

    async def _measure(self, folder: Path, render: Render, digests: dict[str, Any]) -> dict[str, Any]:
        files = str(folder / "image"), str(folder / "result.mp4")
        index, checkpoints = str(render.options.face_index), str(self._settings.checkpoints_dir)
        async with self._one_at_a_time:
            measured = await self._children.ask("dice_talk.measure", *files, index, checkpoints, seconds=MEASURE_S)
        if measured:
            with suppress(OSError):  # no room, or removed meanwhile: nothing that could not be measured again
                await asyncio.to_thread(keep, folder / MEASURED, json.dumps(digests | measured).encode())
        return digests | measured


def _is_whole(folder: Path) -> bool:
    return all((folder / name).exists() for name in FILES)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(file.read_bytes()))
    except (FileNotFoundError, ValueError):  # a damaged one is written anew
        return None


def poster_of(folder: Path) -> bytes:
    """A picture of a render's video, as a JPEG. Blocking. Raises `TaskNotFound` when the video has gone."""
    try:
        try:
            return (folder / POSTER).read_bytes()
        except FileNotFoundError:
            from dice_talk.video import poster  # few ask for one, and the service starts sooner without codecs

            picture = poster(folder / "result.mp4")
            with suppress(OSError):  # no room, or removed meanwhile: the next one who asks has it made again
                keep(folder / POSTER, picture)
            return picture
    except FileNotFoundError:
        raise TaskNotFound from None


def _labels(found: dict[str, Any] | None) -> FoundLabels | None:
    """Without the ProduceID: of those who share a video, all but the first would learn of another's task."""
    labels = FoundLabels.model_validate(found) if found else None
    if labels and isinstance(labels.aigc, dict):
        labels.aigc.pop("ProduceID", None)
    return labels


def _timings(task: Task) -> ReceiptTimings:
    started, finished = task.started_at or task.created_at, task.finished_at or task.created_at
    return ReceiptTimings(
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        queued_seconds=round(max(0.0, (started - task.created_at).total_seconds()), 1),
        render_seconds=round((finished - started).total_seconds(), 1),
        attempts=task.attempts,
    )


def _weight_hashes(render: Render, checkpoints: Path) -> dict[str, str | None]:
    """By file; None for one that was touched since the render, so that nobody knows what it held then. Blocking."""
    files = weight_files(render.engine, checkpoints)
    return {name: _unchanged_hash(file, render.finished_at) for name, file in files.items()}


def _unchanged_hash(file: Path, since: datetime | None) -> str | None:
    try:
        status = file.stat()
        changed = datetime.fromtimestamp(status.st_ctime, UTC).replace(tzinfo=None)
        return None if since is None or changed > since else _hash(file, status.st_size, status.st_ctime_ns)
    except OSError:
        return None


@cache
def _hash(file: Path, size: int, changed_ns: int) -> str:
    """Of a file that had that size and was last touched then: of gigabytes, so it is done once."""
    return sha256_of(file)
