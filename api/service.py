"""What the routes call: takes requests in, tells how tasks stand, hands out results, removes what is too old."""

import asyncio
import logging
import os
import secrets
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from api.dispatcher import Dispatcher
from api.errors import QueueFull, TaskNotCompleted, TaskNotFound, TooManyRequests, Unavailable
from api.files import settle
from api.inspection import Inputs, Inspector
from api.recent import Standing
from api.schemas import Health, RenderForm, TaskCreated, TaskState
from api.settings import MEGABYTE, Settings
from api.store import TaskStore
from api.tasks import FINAL, Render, Task, TaskStatus, cache_key
from api.uploads import StoredFile
from dice_talk import __version__
from dice_talk.engine import choose_engine, fingerprint, weights_of
from dice_talk.errors import EngineUnavailable
from dice_talk.face import output_size
from dice_talk.options import MAX_SEED

log = logging.getLogger(__name__)

RETRY_LATER = {"Retry-After": "30"}


class Synthesis:
    """The service behind the routes. Files of a render lie in `folder(render.id)`: image, audio, result.mp4."""

    def __init__(
        self, settings: Settings, store: TaskStore, dispatcher: Dispatcher, *, clock: Callable[[], datetime], gpu: bool
    ) -> None:
        self.settings = settings
        self._store, self._dispatcher, self._clock, self._gpu = store, dispatcher, clock, gpu
        self._inspector = Inspector()
        self._admission = asyncio.Lock()  # looking for a shared render, counting the queue and joining it are one act
        self._uploads = 0
        self.stopping = False

    def refuse_when_full(self) -> None:
        """Raises `QueueFull` or `Unavailable`."""
        if self.stopping:
            raise Unavailable("The server is shutting down", "Try again soon.", RETRY_LATER)
        if problem := storage_problem(self.settings):
            raise Unavailable(problem, "Try again later.", RETRY_LATER)
        if self._dispatcher.full:
            raise QueueFull(
                "Too many tasks are waiting",
                f"At most {self.settings.queue_size} may wait. Try again later.",
                RETRY_LATER,
            )

    def stop(self) -> None:
        """Accepts nothing from now on; a second call ends the time that running tasks are given."""
        if self.stopping:
            self._dispatcher.hurry()
        self.stopping = True

    async def drain(self) -> None:
        """Gives running tasks their time to end, then leaves the rest to the next start. More calls do nothing more."""
        self.stopping = True
        await self._dispatcher.stop(self.settings.shutdown_seconds)

    async def refuse_when_owner_waits(self, owner: str | None) -> None:
        """Raises `TooManyRequests` when as many tasks of that key wait as may."""
        limit = self.settings.key_queue_size
        if owner is not None and await asyncio.to_thread(self._store.waiting_of, owner) >= limit:
            raise TooManyRequests(
                "Too many of your tasks are waiting", f"At most {limit} of one key may wait.", RETRY_LATER
            )

    @asynccontextmanager
    async def uploading(self, owner: str | None) -> AsyncIterator[None]:
        """Around one upload. Raises `QueueFull`, `Unavailable` or `TooManyRequests` before it is sent in vain."""
        self.refuse_when_full()
        await self.refuse_when_owner_waits(owner)
        if self._uploads >= self.settings.uploads:
            raise QueueFull(
                "Too many uploads at the same time", f"At most {self.settings.uploads} are taken.", RETRY_LATER
            )
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def start(self, form: RenderForm, owner: str | None) -> TaskCreated:
        """Accepts a request: once this returns, the task outlives any crash. `owner`: name of the key, if any."""
        if not isinstance(form.image, StoredFile) or not isinstance(form.audio, StoredFile):
            raise TypeError("the form was not read by receive_form")
        wish = self.settings.engine if form.engine == "auto" else form.engine
        engine = choose_engine(wish, self.settings.checkpoints_dir)
        inputs = await self._inspector.inspect(form.image.path, form.audio.path)
        if not form.crop:
            output_size(inputs.width, inputs.height, form.min_resolution)
        render = await asyncio.to_thread(self._plan, form, form.image, form.audio, engine, inputs)
        # Once begun it is done to the end, also when the server's time runs out: no row without files, nor the reverse.
        task = Task(render.id, render.created_at, render, owner)
        status = await asyncio.shield(asyncio.ensure_future(self._admit(task, form.image.path.parent)))
        return TaskCreated(task_id=task.id, status=status, message="Task created successfully")

    async def _admit(self, task: Task, upload: Path) -> TaskStatus:
        """Lets the task share a render, or wait for one of its own."""
        async with self._admission:
            shared = await self._find_shared(task.render.cache_key)
            if shared:
                task = replace(task, render=shared)
            if task.render.status is TaskStatus.PENDING:
                await self.refuse_when_owner_waits(task.owner)
            if shared:
                await asyncio.to_thread(self._store.join, task)
            else:
                self.refuse_when_full()
                await self._accept(task, upload)
        whose, how = f" of {task.owner}" if task.owner else "", ", shared" if shared else ""
        log.info("task %s%s: %s, %.1f s%s", task.id, whose, task.render.engine, task.render.seconds, how)
        return task.render.status

    def _plan(self, form: RenderForm, image: StoredFile, audio: StoredFile, engine: str, inputs: Inputs) -> Render:
        options, key = form.options(), None
        if options.seed is None:
            options = options.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})
        else:
            weights = fingerprint(engine, self.settings.checkpoints_dir)
            key = cache_key(image.sha256, audio.sha256, options, engine, weights)
        now = self._clock()
        return Render(
            id=str(uuid.uuid4()),
            options=options,
            engine=engine,
            cache_key=key,
            seconds=min(options.duration or inputs.seconds, inputs.seconds),
            created_at=now,
            updated_at=now,
        )

    async def _find_shared(self, key: str | None) -> Render | None:
        """The render that an identical request may share: one in work, or a finished one whose file is there."""
        if key is None:
            return None
        render = await asyncio.to_thread(self._store.shareable, key)
        if render and render.status is TaskStatus.COMPLETED and not self.result_file(render.id).exists():
            return None
        return render

    async def _accept(self, task: Task, upload: Path) -> None:
        """Files first, then the row: a row without files never exists."""
        folder = self.folder(task.render.id)
        await asyncio.to_thread(settle, upload, folder)
        try:
            stored = await asyncio.to_thread(self._store.add, task)
        except Exception:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        self._dispatcher.enqueue(stored)

    def folder(self, render_id: str) -> Path:
        """Where a render's files lie."""
        return render_folder(self.settings, render_id)

    def result_file(self, render_id: str) -> Path:
        """Where a finished render's video lies."""
        return self.folder(render_id) / "result.mp4"

    async def status(self, task_id: str, owner: str | None) -> TaskState:
        """How a task stands. Raises `TaskNotFound`."""
        known = self._store.recall(task_id)  # nearly always: a thread takes longer than all of the rest
        standing = known or await asyncio.to_thread(self._store.standing, task_id)
        task = _visible(standing, owner)
        render, position, message = task.render, None, task.render.message
        if standing and render.status is TaskStatus.PENDING:
            position = standing.ahead + 1
            message = f"{message} (position {position})"
        elapsed = ((render.finished_at or self._clock()) - render.started_at) if render.started_at else timedelta()
        return TaskState(
            task_id=task.id,
            status=render.status,
            progress=round(render.progress, 4),
            message=message,
            created_at=task.created_at,
            updated_at=max(task.created_at, render.updated_at),
            detail=render.detail,
            stage=render.stage,
            queue_position=position,
            engine=render.engine,
            weights=weights_of(render.engine, self.settings.checkpoints_dir),
            seed=render.options.seed or 0,
            duration=round(render.seconds, 3),
            elapsed_seconds=round(max(0.0, elapsed.total_seconds()), 1),
            attempts=render.attempts,
        )

    def completed(self, task_id: str, owner: str | None) -> Task:
        """A task whose video is there. Blocking. Raises `TaskNotFound` or `TaskNotCompleted`."""
        task = _visible(self._store.standing(task_id), owner)
        render = task.render
        if render.status is not TaskStatus.COMPLETED:
            detail = f"It failed: {render.message}" if render.status in FINAL else "Ask for its status until COMPLETED."
            raise TaskNotCompleted("Task not completed yet", detail)
        return task

    def result(self, task_id: str, owner: str | None) -> Path:
        """The finished video. Blocking. Raises `TaskNotFound` or `TaskNotCompleted`."""
        return self.result_file(self.completed(task_id, owner).render.id)

    def health(self) -> Health:
        """Healthy means: it can take and render tasks. Blocking."""
        slots, engine, problem = self._dispatcher.slots, None, None
        try:
            engine = choose_engine(self.settings.engine, self.settings.checkpoints_dir)
        except EngineUnavailable as error:
            problem = f"{error}. {error.detail}"
        if not self._store.ping():
            problem = "The database does not answer"
        elif problem is None and all(slot.broken for slot in slots):
            problem = f"No engine process can be started: {slots[0].broken}"
        elif self.stopping:
            problem = "The server is shutting down"
        else:
            problem = problem or storage_problem(self.settings)
        return Health(
            status="unhealthy" if problem else "healthy",
            gpu_available=self._gpu,
            model_loaded=engine is not None and self._dispatcher.engines.ready(engine),
            version=__version__,
            engine=engine,
            weights=weights_of(engine, self.settings.checkpoints_dir) if engine else None,
            queue_length=self._dispatcher.waiting,
            queue_size=self.settings.queue_size,
            slots=len(slots),
            slots_busy=sum(slot.busy for slot in slots),
            detail=problem,
        )

    async def sweep(self) -> int:
        """Removes tasks that ended longer ago than the retention time, with their files. Gives how many renders."""
        cutoff = self._clock() - timedelta(hours=self.settings.retention_hours)
        async with self._admission:  # nobody may join a render while it goes
            gone = await asyncio.to_thread(self._store.expired, cutoff)
            for render_id in gone:  # before the rows: on a full disk, the database has no room to forget them
                await asyncio.to_thread(shutil.rmtree, self.folder(render_id), ignore_errors=True)
            await asyncio.to_thread(self._store.purge, cutoff)
        if gone:
            log.info("%d renders removed after %g hours", len(gone), self.settings.retention_hours)
        return len(gone)


def _visible(standing: Standing | None, owner: str | None) -> Task:
    """Only its owner sees a task; one made without a key is seen without one only. Raises `TaskNotFound`."""
    if standing is None or standing.task.owner != owner:
        raise TaskNotFound
    return standing.task


def render_folder(settings: Settings, render_id: str) -> Path:
    """Where a render's files lie: image, audio and, when it is done, result.mp4."""
    return settings.data_dir / "tasks" / render_id


def storage_problem(settings: Settings) -> str | None:
    """Why nothing more can be stored; None when all is well."""
    if not os.access(settings.data_dir, os.W_OK):
        return "The server cannot write to its data folder"
    if shutil.disk_usage(settings.data_dir).free < settings.min_free_mb * MEGABYTE:
        return "The server has too little room on its disk"
    return None


def staging_folder(settings: Settings) -> Path:
    """Where uploads lie until they are accepted."""
    return settings.data_dir / "incoming"


def clear_leftovers(settings: Settings, store: TaskStore) -> None:
    """Removes what a crash may leave: half uploads, and folders whose row was never written or is already gone."""
    shutil.rmtree(staging_folder(settings), ignore_errors=True)
    known = store.render_ids()
    if not known:
        return  # a new database, perhaps by a mistyped URL: no reason to remove anybody's videos
    for folder in (settings.data_dir / "tasks").iterdir():
        if folder.name not in known:
            log.warning("removing %s: no task refers to it", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
