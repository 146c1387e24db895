"""Accepts requests: finds a render to share or a place in the queue, checks the files, stores the task."""

import asyncio
import logging
import secrets
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from api import logs
from api.callbacks.outbound import check_url
from api.caller import address, caller
from api.errors import (
    ApiError,
    Conflict,
    InvalidValue,
    QueueFull,
    TaskNotFound,
    TooManyRequests,
    Unavailable,
)
from api.inspection.intake import Inputs, Inspector
from api.rendering.dispatcher import Dispatcher
from api.schemas.options import TaskOptions
from api.schemas.tasks import TaskCreated
from api.service.describe import describe_warnings
from api.service.lookup import TaskLookup
from api.settings import Settings
from api.storage.files import RenderFiles, Upload
from api.tasks.model import Render, Task, TaskStatus, cache_key, request_hash
from api.tasks.store import KeyTaken, NoPlace, NoPlaceForOwner, Outdated, Places, StoreFailure, TaskStore
from api.threads import entered
from dice_talk.engines import ENGINES, choose_engine, fingerprint
from dice_talk.error_codes import ErrorCode
from dice_talk.face import output_size
from dice_talk.labels import LabelOptions
from dice_talk.options import MAX_SEED, RenderOptions

log = logging.getLogger(__name__)

RETRY_LATER = {"Retry-After": "30"}
LOOKS = 5
"""How often a request looks for a render to share. It looks again if an equal one was admitted at the same moment."""


@dataclass
class OwnRender:
    """What a request needs unless it shares a render."""

    render: Render
    upload: Upload
    accepted: bool = False  # whether its files are in place, or may be
    stored: bool = False


class Admission:
    """Decides which requests become tasks."""

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        files: RenderFiles,
        dispatcher: Dispatcher,
        inspector: Inspector,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self.closed = False  # set when the server begins to stop
        self.uploads = 0
        self._settings, self._store, self._files, self._clock = settings, store, files, clock
        self._dispatcher, self._inspector, self._lookup = dispatcher, inspector, TaskLookup(store)
        self._uploads_by_client = Counter[str]()
        self._places = Places(settings.queue_size, settings.key_queue_size)

    def refuse_when_closed(self) -> None:
        """Raises `Unavailable`. Blocking."""
        if self.closed:
            raise Unavailable(ErrorCode.SHUTTING_DOWN, "The server is shutting down", "Try again soon.", RETRY_LATER)
        if problem := self._files.problem():
            raise Unavailable(problem.code, problem.words, "Try again later.", RETRY_LATER)

    def refuse_when_full(self) -> None:
        """Raises `QueueFull`. Blocking."""
        if self._store.waiting() >= self._places.queue:
            raise self._queue_full()

    def _queue_full(self) -> QueueFull:
        return QueueFull(
            ErrorCode.QUEUE_FULL,
            "Too many tasks are waiting",
            "At most {most} may wait. Try again later.",
            RETRY_LATER,
            most=self._places.queue,
        )

    def refuse_when_owner_waits(self, owner: str | None) -> None:
        """Raises `TooManyRequests` if as many tasks of that key wait as are allowed. Blocking."""
        if owner is not None and self._store.waiting_of(owner) >= self._places.of_owner:
            raise self._owner_waits()

    def _owner_waits(self) -> TooManyRequests:
        return TooManyRequests(
            ErrorCode.KEY_QUEUE_FULL,
            "Too many of your tasks are waiting",
            "At most {most} of one key may wait.",
            RETRY_LATER,
            most=self._places.of_owner,
        )

    async def refuse_before_upload(self, owner: str | None, idempotency_key: str | None) -> None:
        """Refuse a request that cannot become a task whatever it uploads.

        If any render could be shared, only the whole request tells whether it needs a place, so it is read first.
        Raises `QueueFull`, `Unavailable` or `TooManyRequests`.
        """
        await asyncio.to_thread(self.refuse_when_closed)
        if idempotency_key:
            made = await asyncio.to_thread(self._store.with_idempotency_key, owner, idempotency_key)
            if made:
                return  # a request that was accepted before needs no place
        try:
            await asyncio.to_thread(self.refuse_when_owner_waits, owner)
            await asyncio.to_thread(self.refuse_when_full)
        except (QueueFull, TooManyRequests):
            if not await asyncio.to_thread(self._store.any_shareable):
                raise

    @asynccontextmanager
    async def uploading(self) -> AsyncIterator[None]:
        """Count one upload of the caller. Raises `QueueFull` if there are too many at the same time."""
        client = caller.get()
        self._refuse_when_uploads_are_full(client)
        self.uploads += 1
        self._uploads_by_client[client] += 1
        try:
            yield
        finally:
            self.uploads -= 1
            self._uploads_by_client[client] -= 1
            self._uploads_by_client += Counter()  # drops clients with none

    def _refuse_when_uploads_are_full(self, client: str) -> None:
        if self.uploads >= self._settings.uploads:
            raise QueueFull(
                ErrorCode.UPLOADS_FULL,
                "Too many uploads at the same time",
                "At most {most} are taken.",
                RETRY_LATER,
                most=self._settings.uploads,
            )
        most = self._settings.uploads_of_one_client
        if self._uploads_by_client[client] >= most:
            raise QueueFull(
                ErrorCode.CLIENT_UPLOADS_FULL,
                "Too many of your uploads at the same time",
                "One client may have at most {most} at once.",
                RETRY_LATER,
                most=most,
            )

    async def start(
        self, upload: Upload, asked: TaskOptions, owner: str | None, idempotency_key: str | None = None
    ) -> TaskCreated:
        """Accept a request. Once this returns, the task survives any crash. `owner`: name of the API key, if any."""
        body = None
        if idempotency_key:
            fields = asked.model_dump(mode="json", include=set(TaskOptions.model_fields) - {"preset"})
            body = request_hash(upload.image_hash, upload.audio_hash, fields)
            if made := await self._find_repeated(owner, idempotency_key, body):
                logs.about(made.id)
                return _created(made)
        return await self._submit(upload, asked, owner, idempotency_key, body)

    async def retry(self, task_id: str, owner: str | None, changes: Mapping[str, object]) -> TaskCreated:
        """Accept a request for the same files. `changes`: options that differ from that task's, by name."""
        await asyncio.to_thread(self.refuse_when_closed)
        async with self.uploading():
            render = (await self._lookup.find(task_id, owner)).render
            if "engine" not in changes and render.engine not in ENGINES:  # its package was uninstalled
                choose_engine(render.engine, self._settings.checkpoints_dir)
            asked = TaskOptions.of(render, changes)
            async with entered(self._files.staging()) as staging:
                try:
                    upload = await asyncio.to_thread(self._files.stage_again, render.id, staging)
                except FileNotFoundError as error:  # removed meanwhile
                    raise TaskNotFound from error
                return await self._submit(upload, asked, owner)

    async def _submit(
        self, upload: Upload, asked: TaskOptions, owner: str | None, key: str | None = None, body: str | None = None
    ) -> TaskCreated:
        callback_url = check_url(asked.callback_url, self._settings.callback_allowed) if asked.callback_url else None
        engine = choose_engine(
            self._settings.engine if asked.engine == "auto" else asked.engine, self._settings.checkpoints_dir
        )
        options, labels = asked.options(), self._labels(asked)
        shared_key = await asyncio.to_thread(self._cache_key, options, upload, engine, labels)
        try:
            await self._find_place(shared_key, owner)  # cheaper than to look at the files first
        except ApiError:
            if key and body and (made := await self._find_repeated(owner, key, body)):
                return _created(made)  # the same request took the last place
            raise
        inputs = await self._inspector.inspect(upload, asked.duration)
        render = self._plan(options, shared_key, engine, inputs, labels)
        task = Task(
            render.id,
            render.created_at,
            render,
            owner,
            idempotency_key=key,
            request_hash=body,
            warnings=inputs.warnings,
            unlabelled_for=None if labels.visible_label == self._settings.visible_label else address.get(),
            callback_url=callback_url,
        )
        logs.about(task.id)
        # Once begun it runs to the end, even if the server's time runs out: files and row come together or not at all.
        admitting = asyncio.ensure_future(self._admit(task, upload))
        try:
            return _created(await asyncio.shield(admitting))
        except asyncio.CancelledError:
            await asyncio.wait([admitting])  # before the caller removes the staged files
            raise

    async def _find_repeated(self, owner: str | None, key: str, body: str) -> Task | None:
        """Return the task that this request made before. Raises `Conflict` if another request has its key."""
        task = await asyncio.to_thread(self._store.with_idempotency_key, owner, key)
        if task and task.request_hash != body:
            raise Conflict(
                ErrorCode.IDEMPOTENCY_KEY_USED,
                "The Idempotency-Key was used for another request",
                "Use a new key for each request that differs.",
            )
        return task

    async def _admit(self, task: Task, upload: Upload) -> Task:
        """Let the task share a render, or queue one of its own. Returns the earlier task of a repeated request."""
        own = OwnRender(task.render, upload)
        try:
            admitted = await self._look_until_admitted(task, own)
        except (QueueFull, TooManyRequests):
            if made := await self._made_by(task):  # the same request has taken the last place
                return made
            raise
        finally:
            if own.accepted and not own.stored:
                await self._take_back(own.render.id)
        if admitted.id == task.id:
            whose, how = f" of {task.owner}" if task.owner else "", "" if own.stored else ", shared"
            log.info("task %s%s: %s, %.1f s%s", task.id, whose, task.render.engine, task.render.seconds, how)
        return admitted

    async def _look_until_admitted(self, task: Task, own: "OwnRender") -> Task:
        """Other requests are admitted meanwhile, here and elsewhere: what was seen must still hold when it counts."""
        for _ in range(LOOKS):
            if made := await self._made_by(task):
                return made
            shared = await self._find_place(own.render.cache_key, task.owner)
            try:
                if shared:
                    return await asyncio.to_thread(self._store.join, replace(task, render=shared), self._places)
                return await self._accept(task, own)
            except NoPlace as error:
                raise self._queue_full() from error
            except NoPlaceForOwner as error:
                raise self._owner_waits() from error
            except (KeyTaken, Outdated):
                continue
        raise Unavailable(ErrorCode.NOT_READY, "Too many requests like this one", "Try again.", RETRY_LATER)

    async def _accept(self, task: Task, own: "OwnRender") -> Task:
        """Files first, then the row: a row without files never exists."""
        if not own.accepted:
            own.accepted = True
            await asyncio.to_thread(self._files.send, own.upload, own.render.id)
            await asyncio.to_thread(self._files.accept, own.upload, own.render.id)
        render = await asyncio.to_thread(self._store.add, task, self._places)
        own.stored = True
        self._dispatcher.enqueue(render.number, render.id)
        return replace(task, render=render)

    async def _take_back(self, render_id: str) -> None:
        """Remove the files of a render that was not stored.

        If the connection broke at the end, it may have been. Files that are left for that reason go with a later start.
        """
        with suppress(StoreFailure):
            if await asyncio.to_thread(self._store.render, render_id) is None:
                await asyncio.to_thread(self._files.remove, render_id)

    async def _made_by(self, task: Task) -> Task | None:
        """Return the task that the same request made before. Raises `Conflict`."""
        if not task.idempotency_key or not task.request_hash:
            return None
        return await self._find_repeated(task.owner, task.idempotency_key, task.request_hash)

    async def _find_place(self, shared_key: str | None, owner: str | None) -> Render | None:
        """Return a render to share, or None if the request needs one of its own and there is room for it.

        Raises `QueueFull`, `Unavailable` or `TooManyRequests`. The answer may be outdated at once.
        """
        waiting = await asyncio.to_thread(self._store.waiting)  # before the look: an equal one may take the last place
        shared = await self._find_shared(shared_key)
        if shared is None or shared.status is TaskStatus.PENDING:
            await asyncio.to_thread(self.refuse_when_owner_waits, owner)
        if shared is None:
            await asyncio.to_thread(self.refuse_when_closed)
            if waiting >= self._places.queue:
                raise self._queue_full()
        return shared

    async def _find_shared(self, key: str | None) -> Render | None:
        """Return the render of an identical request: an unfinished one, or a finished one whose video still exists."""
        if key is None:
            return None
        render = await asyncio.to_thread(self._store.shareable, key)
        if render is None or render.status is not TaskStatus.COMPLETED:
            return render
        return render if await asyncio.to_thread(self._files.has_video, render.id) else None

    def _labels(self, asked: TaskOptions) -> LabelOptions:
        """Raises `InvalidValue` if a video without the visible label is asked for and not allowed."""
        labels = LabelOptions.part_of(self._settings)
        if asked.visible_label or not labels.words:
            return labels
        if not self._settings.visible_label_optional:
            raise InvalidValue(
                ErrorCode.LABEL_REQUIRED,
                "This server makes no video without its visible label",
                "Leave visible_label out.",
            )
        return labels.without_visible()

    def _cache_key(self, options: RenderOptions, upload: Upload, engine: str, labels: LabelOptions) -> str | None:
        """Return None without a seed. Blocking."""
        if options.seed is None:
            return None
        weights = fingerprint(engine, self._settings.checkpoints_dir, self._settings.precision)
        return cache_key(upload.image_hash, upload.audio_hash, options, engine, weights, labels)

    def _plan(
        self, options: RenderOptions, key: str | None, engine: str, inputs: Inputs, labels: LabelOptions
    ) -> Render:
        """Raises `InvalidOptions` if the video would be too large."""
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


def _created(task: Task) -> TaskCreated:
    status = task.as_seen_by_client().render.status
    message = "Task created successfully"
    return TaskCreated(task_id=task.id, status=status, message=message, warnings=describe_warnings(task))
