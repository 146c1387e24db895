"""What the routes call: takes requests in, tells how tasks stand, hands out results, ends and removes tasks."""

import asyncio
import logging
import secrets
import shutil
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio

from api import logs
from api.children import Children
from api.cursor import decode_cursor, encode_cursor
from api.dispatcher import Dispatcher
from api.errors import (
    ApiError,
    Conflict,
    InvalidValue,
    QueueFull,
    TaskNotCompleted,
    TaskNotFound,
    TooManyRequests,
    Unavailable,
)
from api.eta import Forecast, Size, Span
from api.events import TICK_S, Events, Feed
from api.files import settle
from api.inspection import Inputs, Inspector
from api.metrics import Load
from api.outbound import check_url
from api.places import address, caller
from api.recent import Standing
from api.schemas import Health, InputWarning, RenderForm, SecondsRange, TaskCreated, TaskOptions, TaskPage, TaskState
from api.settings import Settings
from api.storage import Upload, link_inputs, remove_folder, render_folder, staging_folder, storage_problem
from api.store import KeyTaken, StoreFailure, TaskStore
from api.tasks import FINAL, Render, Task, TaskStatus, cache_key, request_hash
from api.uploads import StoredFile
from dice_talk import __version__
from dice_talk.engine import choose_engine, fingerprint, weights_of
from dice_talk.errors import EngineUnavailable
from dice_talk.face import output_size
from dice_talk.labels import LabelOptions
from dice_talk.options import MAX_SEED, RenderOptions

log = logging.getLogger(__name__)

RETRY_LATER = {"Retry-After": "30"}
UNLABELLED_KEPT = timedelta(days=184)
"""Six months at least: how long it is known who asked for a video without the visible label."""
RELEASE_S = 10.0
"""How long removing a running task waits for its engine; after that, its files go with the next sweep."""


class Synthesis:
    """The service behind the routes. Files of a render lie in `folder(render.id)`: image, audio, result.mp4."""

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        dispatcher: Dispatcher,
        children: Children,
        *,
        clock: Callable[[], datetime],
        gpu: bool,
    ) -> None:
        self.settings = settings
        self._store, self._dispatcher, self._clock, self._gpu = store, dispatcher, clock, gpu
        self._inspector = Inspector(children)
        self._admission = asyncio.Lock()  # looking for a shared render, counting the queue and joining it are one act
        self._uploads, self._uploads_of = 0, Counter[str]()  # in all, and by client
        self._forecast = Forecast()
        self._events = Events(self._look)
        self.stopping = False

    def refuse_when_closed(self) -> None:
        """Raises `Unavailable`."""
        if self.stopping:
            raise Unavailable("The server is shutting down", "Try again soon.", RETRY_LATER)
        if problem := storage_problem(self.settings):
            raise Unavailable(problem, "Try again later.", RETRY_LATER)

    def refuse_when_full(self) -> None:
        """Raises `QueueFull`."""
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
        self._dispatcher.begin_nothing()

    async def drain(self) -> None:
        """Gives running tasks their time to end, then leaves the rest to the next start. More calls do nothing more."""
        self.stopping = True
        await self._dispatcher.stop(self.settings.shutdown_seconds)
        with suppress(StoreFailure):
            await self._events.update()  # the ends of those that made it
        self._events.close()

    async def refuse_when_owner_waits(self, owner: str | None) -> None:
        """Raises `TooManyRequests` when as many tasks of that key wait as may."""
        limit = self.settings.key_queue_size
        if owner is not None and await asyncio.to_thread(self._store.waiting_of, owner) >= limit:
            raise TooManyRequests(
                "Too many of your tasks are waiting", f"At most {limit} of one key may wait.", RETRY_LATER
            )

    async def refuse_in_vain(self, owner: str | None, idempotency_key: str | None) -> None:
        """Before an upload that can't make a task, whatever it holds.

        Where something can be shared, only the whole request tells whether it needs a place, so it is read first.
        Raises `QueueFull`, `Unavailable` or `TooManyRequests`.
        """
        self.refuse_when_closed()
        made = await asyncio.to_thread(self._store.keyed, owner, idempotency_key) if idempotency_key else None
        if made:
            return  # what was accepted already takes no place
        try:
            await self.refuse_when_owner_waits(owner)
            self.refuse_when_full()
        except (QueueFull, TooManyRequests):
            if not await asyncio.to_thread(self._store.any_shareable):
                raise

    @asynccontextmanager
    async def uploading(self) -> AsyncIterator[None]:
        """Around one upload. Raises `QueueFull` when there are too many at once."""
        if self._uploads >= self.settings.uploads:
            raise QueueFull(
                "Too many uploads at the same time", f"At most {self.settings.uploads} are taken.", RETRY_LATER
            )
        client, most = caller.get(), self.settings.uploads_of_one_client
        if self._uploads_of[client] >= most:
            detail = f"One client may have at most {most} at once."
            raise QueueFull("Too many of your uploads at the same time", detail, RETRY_LATER)
        self._uploads += 1
        self._uploads_of[client] += 1
        try:
            yield
        finally:
            self._uploads -= 1
            self._uploads_of[client] -= 1
            self._uploads_of += Counter()  # forgets those who send nothing

    async def start(self, form: RenderForm, owner: str | None, idempotency_key: str | None = None) -> TaskCreated:
        """Accepts a request: once this returns, the task outlives any crash. `owner`: name of the key, if any."""
        if not isinstance(form.image, StoredFile) or not isinstance(form.audio, StoredFile):
            raise TypeError("the form was not read by receive_form")
        upload = Upload(form.image.path.parent, form.image.sha256, form.audio.sha256)
        body = None
        if idempotency_key:
            fields = form.model_dump(mode="json", exclude={"image", "audio"})
            body = request_hash(upload.image_hash, upload.audio_hash, fields)
            if made := await self._find_repeated(owner, idempotency_key, body):
                logs.about(made.id)
                return _created(made)
        return await self._submit(upload, form, owner, idempotency_key, body)

    async def retry(self, task_id: str, owner: str | None, changes: Mapping[str, object]) -> TaskCreated:
        """Accepts a request for the same files. `changes`: other options than that task's, by name."""
        self.refuse_when_closed()
        async with self.uploading():
            render = (await self._find(task_id, owner)).render
            options = TaskOptions.of(render, changes)
            folder = staging_folder(self.settings) / uuid.uuid4().hex
            try:
                try:
                    upload = await asyncio.to_thread(link_inputs, self.folder(render.id), folder)
                except FileNotFoundError as error:  # removed meanwhile
                    raise TaskNotFound from error
                return await self._submit(upload, options, owner)
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _submit(
        self, upload: Upload, wish: TaskOptions, owner: str | None, key: str | None = None, body: str | None = None
    ) -> TaskCreated:
        callback_url = check_url(wish.callback_url, self.settings.callback_allowed) if wish.callback_url else None
        engine = choose_engine(
            self.settings.engine if wish.engine == "auto" else wish.engine, self.settings.checkpoints_dir
        )
        options, labels = wish.options(), self._labels(wish)
        cache_key = await asyncio.to_thread(self._cache_key, options, upload, engine, labels)
        try:
            await self._find_place(cache_key, owner)  # it costs less than to look at the files
        except ApiError:
            if key and body and (made := await self._find_repeated(owner, key, body)):
                return _created(made)  # its twin took the last place
            raise
        inputs = await self._inspector.inspect(upload, wish.duration)
        render = self._plan(options, cache_key, engine, inputs, labels)
        task = Task(
            render.id,
            render.created_at,
            render,
            owner,
            idempotency_key=key,
            request_hash=body,
            warnings=inputs.warnings,
            unlabelled_for=None if labels.visible_label == self.settings.visible_label else address.get(),
            callback_url=callback_url,
        )
        logs.about(task.id)
        # Once begun it is done to the end, also when the server's time runs out: no row without files, nor the reverse.
        admitting = asyncio.ensure_future(self._admit(task, upload.folder))
        try:
            return _created(await asyncio.shield(admitting))
        except asyncio.CancelledError:
            await asyncio.wait([admitting])  # before whoever sent the files removes them
            raise

    async def _find_repeated(self, owner: str | None, key: str, body: str) -> Task | None:
        """The task that this request made already. Raises `Conflict` when another request has its key."""
        task = await asyncio.to_thread(self._store.keyed, owner, key)
        if task and task.request_hash != body:
            raise Conflict(
                "The Idempotency-Key was used for another request", "Use a new key for each request that differs."
            )
        return task

    async def _admit(self, task: Task, upload: Path) -> Task:
        """Lets the task share a render, or wait for one of its own. Gives the one that there is, if it was repeated."""
        async with self._admission:
            if made := await self._made_by(task):
                return made
            shared = await self._find_place(task.render.cache_key, task.owner)
            try:
                if shared:
                    task = task.joining(shared)
                    await asyncio.to_thread(self._store.join, task)
                else:
                    await self._accept(task, upload)
            except KeyTaken:  # by another server on the same database
                if made := await self._made_by(task):
                    return made
                raise
        whose, how = f" of {task.owner}" if task.owner else "", ", shared" if shared else ""
        log.info("task %s%s: %s, %.1f s%s", task.id, whose, task.render.engine, task.render.seconds, how)
        return task

    async def _made_by(self, task: Task) -> Task | None:
        """The task that the same request made already. Raises `Conflict`."""
        if not task.idempotency_key or not task.request_hash:
            return None
        return await self._find_repeated(task.owner, task.idempotency_key, task.request_hash)

    async def _find_place(self, cache_key: str | None, owner: str | None) -> Render | None:
        """The render that a request may share; None where it needs one of its own and there is room for that.

        Raises `QueueFull`, `Unavailable` or `TooManyRequests`. What is admitted is counted under the lock only.
        """
        shared = await self._find_shared(cache_key)
        if shared is None or shared.status is TaskStatus.PENDING:
            await self.refuse_when_owner_waits(owner)
        if shared is None:
            self.refuse_when_closed()
            self.refuse_when_full()
        return shared

    def _labels(self, wish: TaskOptions) -> LabelOptions:
        """Of a video. Raises `InvalidValue` where one without the visible label is asked for and not allowed."""
        labels = LabelOptions.part_of(self.settings)
        if wish.visible_label or not labels.words:
            return labels
        if not self.settings.visible_label_optional:
            raise InvalidValue("This server makes no video without its visible label", "Leave visible_label out.")
        return labels.without_visible()

    def _cache_key(self, options: RenderOptions, upload: Upload, engine: str, labels: LabelOptions) -> str | None:
        """None without a seed. Blocking."""
        if options.seed is None:
            return None
        weights = fingerprint(engine, self.settings.checkpoints_dir)
        return cache_key(upload.image_hash, upload.audio_hash, options, engine, weights, labels)

    def _plan(
        self, options: RenderOptions, key: str | None, engine: str, inputs: Inputs, labels: LabelOptions
    ) -> Render:
        """Raises `InvalidOptions` when the video would be too large."""
        shape = (1, 1) if options.crop else (inputs.width, inputs.height)
        width, height = output_size(*shape, options.min_resolution)
        if options.seed is None:
            options = options.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})
        now = self._clock()
        return Render(
            id=str(uuid.uuid4()),
            options=options,
            engine=engine,
            cache_key=key,
            seconds=min(options.duration or inputs.seconds, inputs.seconds),
            created_at=now,
            updated_at=now,
            pixels=width * height,
            labels=labels,
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
        try:
            await asyncio.to_thread(settle, upload, folder)
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
        return self._describe(_visible(await self._standing(task_id), owner))

    async def _standing(self, task_id: str) -> Standing | None:
        known = self._store.recall(task_id)  # nearly always: a thread takes longer than all of the rest
        return known or await asyncio.to_thread(self._store.standing, task_id)

    async def _find(self, task_id: str, owner: str | None) -> Task:
        return _visible(await self._standing(task_id), owner).task

    async def _look(self, task_id: str) -> TaskState | None:
        standing = await self._standing(task_id)
        return self._describe(replace(standing, task=standing.task.as_told())) if standing else None

    def _describe(self, standing: Standing) -> TaskState:
        task, render, now = standing.task, standing.task.render, self._clock()
        position, message, eta = None, task.message, None
        if render.status is TaskStatus.PENDING:
            position = standing.ahead + 1
            message = f"{message} (position {position})"
        if render.status not in FINAL:
            eta = self._forecast.find(render.id, now)
        elapsed = ((task.finished_at or now) - task.started_at) if task.started_at else timedelta()
        counts = render.status is TaskStatus.PROCESSING and render.steps > 0
        draws = counts and render.stage == "render"
        return TaskState(
            task_id=task.id,
            status=render.status,
            progress=round(render.progress, 4),
            message=message,
            created_at=task.created_at,
            updated_at=task.updated_at,
            detail=render.detail,
            stage=render.stage,
            queue_position=position,
            engine=render.engine,
            weights=weights_of(render.engine, self.settings.checkpoints_dir),
            seed=render.options.seed or 0,
            duration=round(render.seconds, 3),
            elapsed_seconds=round(max(0.0, elapsed.total_seconds()), 1),
            attempts=task.attempts,
            step=render.step if counts else None,
            steps=render.steps if counts else None,
            frame=render.step if draws else None,
            frames=render.steps if draws else None,
            eta_seconds=_range(eta),
            cancelled=task.cancelled_at is not None,
            warnings=_warnings(task),
            visible_label=render.labels.words,
        )

    def foresee(self, size: Size) -> SecondsRange | None:
        """How long a render of that size would take once it has begun; None where nobody knows."""
        return _range(self._forecast.foresee(size))

    def page(self, owner: str | None, statuses: Collection[TaskStatus], limit: int, cursor: str | None) -> TaskPage:
        """Some of an owner's tasks, newest first. Blocking. Raises `InvalidValue` for a cursor that is none."""
        after = decode_cursor(cursor) if cursor else None
        found = self._store.page(owner, statuses, limit + 1, after)
        more = encode_cursor(found[limit - 1].task) if len(found) > limit else None
        return TaskPage(
            tasks=[self._describe(_visible(standing, owner)) for standing in found[:limit]], next_cursor=more
        )

    async def feed(self, task_id: str, owner: str | None) -> Feed:
        """What happens to a task. Raises `TaskNotFound`."""
        return self._events.feed(await self.status(task_id, owner))

    async def watch(self) -> None:
        """Until cancelled, keeps forecasts and feeds up to date."""
        stamp = None
        while True:
            try:
                if stamp != (stamp := self._store.stamp()):
                    await asyncio.to_thread(self._foresee)
                await self._events.update()
            except Exception:
                log.exception("Tasks could not be looked at")
            await asyncio.sleep(TICK_S)

    def _foresee(self) -> None:
        self._forecast.renew(self._store.unfinished(), self._store.timings(), self.settings.workers, self._clock())

    async def cancel(self, task_id: str, owner: str | None) -> TaskState:
        """Ends a task; its render goes on if others share it. Raises `TaskNotFound` or `Conflict`."""
        async with self._admission:  # nobody may join a render while it is called off
            task = await self._find(task_id, owner)
            if not await asyncio.to_thread(self._store.cancel, task, self._clock()):
                raise Conflict("The task has ended already")
            await self._call_off_unwanted(task.render.id)
        log.info("task %s cancelled", task_id)
        return await self.status(task_id, owner)

    async def remove(self, task_id: str, owner: str | None) -> None:
        """Forgets a task at once, and removes its files unless others share them. Raises `TaskNotFound`."""
        async with self._admission:
            task = await self._find(task_id, owner)
            await asyncio.to_thread(self._store.remove, task, self._clock())
            unwanted = await self._call_off_unwanted(task.render.id)
        log.info("task %s removed by its client", task_id)
        if unwanted:
            with anyio.move_on_after(RELEASE_S):
                await self._dispatcher.released(task.render.id)
        await self.sweep()

    async def _call_off_unwanted(self, render_id: str) -> bool:
        """After a task gave a render up, on which the store may have ended it. Gives whether it did."""
        render = await asyncio.to_thread(self._store.render, render_id)
        if render is None or render.status is not TaskStatus.FAILED:
            return False
        self._dispatcher.call_off(render_id)
        return True

    def completed(self, task_id: str, owner: str | None) -> Task:
        """A task whose video is there. Blocking. Raises `TaskNotFound` or `TaskNotCompleted`."""
        task = _visible(self._store.standing(task_id), owner).task
        render = task.render
        if render.status is not TaskStatus.COMPLETED:
            detail = f"It failed: {render.message}" if render.status in FINAL else "Ask for its status until COMPLETED."
            raise TaskNotCompleted("Task not completed yet", detail)
        return task

    def result(self, task_id: str, owner: str | None) -> Path:
        """The finished video. Blocking. Raises `TaskNotFound` or `TaskNotCompleted`."""
        return self.result_file(self.completed(task_id, owner).render.id)

    def load(self) -> Load:
        """How busy the service is."""
        return Load(
            queue_length=self._dispatcher.waiting,
            queue_size=self.settings.queue_size,
            slots=len(self._dispatcher.slots),
            slots_busy=sum(slot.busy for slot in self._dispatcher.slots),
            uploads=self._uploads,
            engine_pids=self._dispatcher.engines.pids(),
        )

    def refuse_when_not_ready(self) -> None:
        """Raises `QueueFull` or `Unavailable` when no task can be taken now. Blocking."""
        health = self.health()
        if health.status != "healthy":
            raise Unavailable("The service is not ready", health.detail, RETRY_LATER)
        self.refuse_when_closed()
        self.refuse_when_full()

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
        """Removes tasks that ended longer ago than the retention time, and renders without a task, with their files.

        Gives how many renders.
        """
        cutoff = self._clock() - timedelta(hours=self.settings.retention_hours)
        async with self._admission:  # nobody may join a render while it goes
            expired = await asyncio.to_thread(self._store.expired, cutoff)
            gone = [render_id for render_id in expired if not self._dispatcher.holds(render_id)]
            # Before the rows: on a full disk, the database has no room to forget them. A folder in which somebody still
            # wrote may outlast this; its row then stays for the next sweep.
            removed = [one for one in gone if await asyncio.to_thread(remove_folder, self.folder(one))]
            await asyncio.to_thread(self._store.purge, cutoff, removed)
        await asyncio.to_thread(
            self._store.forget_labels,
            made_before=min(cutoff, self._clock() - timedelta(days=self.settings.verify_days)),
            asked_before=self._clock() - UNLABELLED_KEPT,
        )
        if removed:
            log.info("%d renders removed that are too old or belong to no task", len(removed))
        return len(removed)


def _range(span: Span | None) -> SecondsRange | None:
    return SecondsRange(low=round(span.low, 1), high=round(span.high, 1)) if span else None


def _created(task: Task) -> TaskCreated:
    status = task.as_told().render.status
    message = "Task created successfully"
    return TaskCreated(task_id=task.id, status=status, message=message, warnings=_warnings(task))


def _warnings(task: Task) -> list[InputWarning]:
    return [InputWarning(**warning) for warning in task.warnings]


def _visible(standing: Standing | None, owner: str | None) -> Standing:
    """Only its owner sees a task; one made without a key is seen without one only. Raises `TaskNotFound`."""
    if standing is None or standing.task.owner != owner:
        raise TaskNotFound
    return replace(standing, task=standing.task.as_told())
