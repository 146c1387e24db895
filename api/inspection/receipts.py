"""Receipts: what a finished video was made from, by which software, and how good it is."""

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from api.errors import TaskNotFound
from api.inspection.children import ChildFailed, Children
from api.inspection.semaphore import FairSemaphore
from api.schemas.labels import FoundLabels
from api.schemas.receipt import Receipt, ReceiptInputs, ReceiptResult, ReceiptTimings, ReceiptWeights
from api.settings import Settings
from api.storage.files import RenderFiles, RenderPaths
from api.storage.hashing import sha256_of
from api.tasks.model import Render, Task
from api.threads import entered
from dice_talk.engines import weight_files, weights_of
from dice_talk.errors import DiceTalkError

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long a response waits for the measurement."""
MEASURE_S = 600.0
"""Measuring takes ten seconds as a rule, and many times that while every core renders: it has low priority."""
DIGEST_S = 60.0
Measuring = tuple[dict[str, Any], "asyncio.Task[dict[str, Any]]"]
"""What is known already, and the task that finds the rest."""


class Receipts:
    """Writes receipts on demand. What takes long is measured once, for one video at a time, and kept with the video."""

    def __init__(self, settings: Settings, files: RenderFiles, children: Children) -> None:
        self._settings, self._files, self._children = settings, files, children
        self._semaphore, self._one_at_a_time = FairSemaphore(), asyncio.Lock()
        self._measuring: dict[str, Measuring] = {}  # by the render's id
        self._closed = False

    async def write(self, task: Task) -> Receipt:
        """Return the receipt of a finished task. Raises `TaskNotFound` if the task is removed meanwhile."""
        render, checkpoints = task.render, self._settings.checkpoints_dir
        async with entered(self._files.paths(render.id)) as paths:
            try:
                found = await self._find(render, paths)
            except FileNotFoundError:
                raise TaskNotFound from None
            except (ChildFailed, DiceTalkError):
                if await asyncio.to_thread(lambda: paths.complete):
                    raise
                raise TaskNotFound from None
        hashes = await asyncio.to_thread(_weight_hashes, render, checkpoints)
        result = dict(render.result)
        versions, notes = result.pop("versions", {}), result.pop("notes", [])
        node = result.pop("node", None)
        return Receipt(
            task_id=task.id,
            inputs=ReceiptInputs(image=found["image"], audio=found["audio"]),
            options=render.options.model_dump(mode="json"),
            engine=render.engine,
            weights=ReceiptWeights(label=weights_of(render.engine, checkpoints), sha256=hashes),
            versions=versions,
            notes=notes,
            node=node,
            timings=_timings(task),
            result=ReceiptResult(**result, **found["video"]),
            measured=found.get("measured"),
            labels=_labels(found.get("labels")),
        )

    async def _find(self, render: Render, paths: RenderPaths) -> dict[str, Any]:
        """Return what child processes find in the files; without `measured` while that is still being measured."""
        if kept := await asyncio.to_thread(self._kept, render.id):
            return kept
        known = self._measuring.get(render.id)
        if known is None:
            async with self._semaphore.acquire():
                files = str(paths.image), str(paths.audio), str(paths.video)
                digests = await self._children.ask("dice_talk.digest", *files, seconds=DIGEST_S)
            if not {"image", "audio", "video"} <= digests.keys():  # it took too long
                raise ChildFailed
            if self._closed:
                return digests
            known = self._measuring.get(render.id) or self._begin(render, digests)
        digests, measuring = known
        done, _ = await asyncio.wait({measuring}, timeout=PATIENCE_S)
        return measuring.result() if done and not measuring.cancelled() else digests  # or raises what it raised

    def _kept(self, render_id: str) -> dict[str, Any] | None:
        try:
            kept = self._files.load(render_id, "receipt")
            return dict(json.loads(kept)) if kept else None
        except ValueError:  # a damaged one is written anew
            return None

    def _begin(self, render: Render, digests: dict[str, Any]) -> "Measuring":
        measuring = asyncio.create_task(self._measure(render, digests))
        measuring.add_done_callback(lambda done: self._end(render.id, done))
        self._measuring[render.id] = digests, measuring
        return digests, measuring

    def _end(self, render_id: str, measuring: "asyncio.Task[dict[str, Any]]") -> None:
        del self._measuring[render_id]
        error = None if measuring.cancelled() else measuring.exception()  # the client may have gone
        if error and not isinstance(error, FileNotFoundError):  # the task was removed meanwhile
            log.warning("the video of render %s could not be measured: %r", render_id, error)

    async def close(self) -> None:
        """Stop measuring. Clients that wait get a receipt without it, and may ask again."""
        self._closed = True
        measuring = {task for _, task in self._measuring.values()}
        for one in measuring:
            one.cancel()
        if measuring:
            await asyncio.wait(measuring)

    async def _measure(self, render: Render, digests: dict[str, Any]) -> dict[str, Any]:
        index, checkpoints = str(render.options.face_index), str(self._settings.checkpoints_dir)
        async with entered(self._files.paths(render.id)) as paths:
            arguments = str(paths.image), str(paths.video), index, checkpoints
            async with self._one_at_a_time:
                measured = await self._children.ask("dice_talk.measure", *arguments, seconds=MEASURE_S)
        if measured:
            data = json.dumps(digests | measured).encode()
            with suppress(OSError):  # no room, or removed meanwhile: nothing that could not be measured again
                await asyncio.to_thread(self._files.keep, render.id, "receipt", data)
        return digests | measured


def _labels(found: dict[str, Any] | None) -> FoundLabels | None:
    """Leave out the ProduceID, which is the id of the first task that shares the video."""
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
    """Return hashes by file; None for a file that was changed since the render. Blocking."""
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
    """Hash a file of that size and change time. It may have gigabytes, so this is done once."""
    return sha256_of(file)
