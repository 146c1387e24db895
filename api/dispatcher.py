"""Waiting renders go to the first idle slot, in the order of their acceptance."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from time import monotonic

import anyio

from api.engines import EngineLost, EnginePool, NoRoom, TaskFailed
from api.files import settle
from api.logs import working_on
from api.metrics import Metrics
from api.slots import Company, Slot
from api.store import StoreFailure, TaskStore
from api.tasks import FINAL, Render, TaskStatus
from dice_talk.engine import ENGINES, Progress, RenderJob
from dice_talk.errors import no_room

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
"""A stage's progress is stored this often; clients poll every few seconds."""
WARM_CHECK_S, MAX_PAUSE_S = 2.0, 60.0
"""How often an idle slot sees to its engine, and how seldom at last while that can't be started."""
STATE_FILE = "state"
"""In a render's folder: how far its engine is, so that a later attempt can go on from there."""
RESTARTED = "Waiting in queue again after a restart"


class Dispatcher:
    """Owns the queue and the slots."""

    def __init__(
        self,
        store: TaskStore,
        engines: EnginePool,
        folder: Callable[[str], Path],
        storage_problem: Callable[[], str | None],
        *,
        slots: int,
        queue_size: int,
        attempts: int,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """`folder`: where a render's files lie, by its id. `storage_problem`: why nothing more can be stored there."""
        self.engines = engines
        self.slots = [Slot(number, engines) for number in range(1, slots + 1)]
        self._store, self._folder, self._clock, self._metrics = store, folder, clock, metrics
        self._storage_problem, self._await_room = storage_problem, False
        self._queue_size, self._attempts = queue_size, attempts
        self._queue: asyncio.PriorityQueue[tuple[int, str]] = asyncio.PriorityQueue()
        self._workers: list[asyncio.Task[None]] = []
        self._draining = False
        self._company = Company()
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Renders in the queue."""
        return self._queue.qsize()

    @property
    def full(self) -> bool:
        """Whether no more may be enqueued."""
        return self.waiting >= self._queue_size

    def enqueue(self, render: Render) -> None:
        """Lets a stored render wait for its turn. Whoever accepts new ones looks at `full` first."""
        self._queue.put_nowait((render.number, render.id))

    async def start(self, engine: str) -> None:
        """Takes up what an earlier run of the service left, and sets the slots to work. `engine` is loaded ahead."""
        self._loop = asyncio.get_running_loop()
        for render in await asyncio.to_thread(self._store.unfinished):
            if (
                render.status is TaskStatus.PROCESSING
            ):  # the service was killed; the attempt counts, lest it happen for ever
                with suppress(StoreFailure):  # no room on the disk, perhaps; it is rendered all the same
                    await self._update(render, TaskStatus.PENDING, stage="queued", message=RESTARTED)
            for part in self._folder(render.id).glob("*.part"):
                part.unlink(missing_ok=True)
            self.enqueue(render)
        self._workers = [asyncio.create_task(self._serve(slot, engine)) for slot in self.slots]

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing new, gives running renders some time to end, then returns the rest to the queue for later."""
        self._draining = True
        for worker, slot in zip(self._workers, self.slots, strict=True):
            if not slot.busy:
                worker.cancel()
        if self._workers:
            hurried = asyncio.create_task(self._hurry.wait())
            ended = asyncio.gather(*self._workers, return_exceptions=True)
            await asyncio.wait((hurried, ended), timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self.engines.close()

    def hurry(self) -> None:
        """Ends the time that `stop` gives. May be called by a signal handler, which does not wake the loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hurry.set)

    async def _serve(self, slot: Slot, engine: str) -> None:
        pause = WARM_CHECK_S
        while not self._draining:
            warm = await self._keep_warm(slot, engine)
            pause = WARM_CHECK_S if warm else min(2 * pause, MAX_PAUSE_S)
            if self._await_room and self._storage_problem():
                await asyncio.sleep(pause)
                continue
            self._await_room = False
            waiting = None
            with anyio.move_on_after(pause):
                waiting = await self._queue.get()
            if waiting:
                with working_on(waiting[1]):
                    await self._run_or_put_back(slot, *waiting)

    async def _run_or_put_back(self, slot: Slot, number: int, render_id: str) -> None:
        try:
            await self._take_on(slot, render_id)
        except Exception as error:
            # The store failed, say because the disk is full: the render is still in it and must not be forgotten.
            reason = None if isinstance(error, StoreFailure) else error
            log.error("%s: render %s put back: %s", slot.label, render_id, error, exc_info=reason)
            await asyncio.sleep(WARM_CHECK_S)
            self._queue.put_nowait((number, render_id))

    async def _keep_warm(self, slot: Slot, engine: str) -> bool:
        """Whether the engine runs, also when it had to be started anew; it may have been killed while idle."""
        try:
            await slot.warm_up(engine)
        except Exception as error:  # noqa: BLE001 - whatever keeps an engine from starting, the slot must try again
            log.error("%s: the %s engine could not be started: %s", slot.label, engine, error)
            return False
        return True

    async def _take_on(self, slot: Slot, render_id: str) -> None:
        render = await asyncio.to_thread(self._store.render, render_id)
        if render is None or render.status in FINAL:
            return
        if render.attempts >= self._attempts:
            self._metrics.note_failure(render.engine, "gave_up")
            await self._finish(render, TaskStatus.FAILED, message="Rendering was interrupted too often")
        elif ENGINES[render.engine].one_process:
            async with self._company.join(alone=render.attempts > 0):
                await self._run(slot, render)
        else:
            await self._run(slot, render)

    async def _run(self, slot: Slot, render: Render) -> None:
        """One attempt at one render, to whatever end."""
        now = self._clock()
        await self._update(
            render,
            TaskStatus.PROCESSING,
            attempts=render.attempts + 1,
            started_at=now,
            stage="load",
            message="Starting",
        )
        folder = self._folder(render.id)
        part = folder / f"{secrets.token_hex(8)}.part"  # an engine of a killed service may still write to its own
        job = RenderJob(folder / "image", folder / "audio", part, render.options, state=folder / STATE_FILE)
        log.info("%s: render %s started with %s", slot.label, render.id, render.engine)
        began = monotonic()
        try:
            result = await slot.run(render.engine, job, ProgressLog(self._store, render.id, self._clock))
            await self._put_in_place(part, folder / "result.mp4")
        except TaskFailed as error:
            self._metrics.note_failure(render.engine, "input")
            await self._finish(render, TaskStatus.FAILED, message=str(error), detail=error.detail)
        except (EngineLost, NoRoom) as error:
            self._await_room = self._await_room or isinstance(error, NoRoom)
            self._metrics.note_failure(render.engine, "disk" if isinstance(error, NoRoom) else "engine")
            await self._retry(render, str(error))
        except asyncio.CancelledError:
            # Through no fault of its own: the attempt does not count.
            message = RESTARTED
            await self._update(render, TaskStatus.PENDING, stage="queued", message=message, attempts=render.attempts)
            log.info("render %s goes on at the next start", render.id)
            raise
        else:
            self._metrics.note_render(render.engine, monotonic() - began, result.seconds)
            await self._finish(render, TaskStatus.COMPLETED, progress=1.0, message="Completed", result=asdict(result))
        finally:
            part.unlink(missing_ok=True)

    async def _put_in_place(self, part: Path, video: Path) -> None:
        try:
            await asyncio.to_thread(settle, part, video)
        except OSError as error:
            if no_room(error):
                raise NoRoom from error
            raise

    async def _retry(self, render: Render, reason: str) -> None:
        tried = render.attempts + 1
        log.error("render %s, attempt %d of %d: %s", render.id, tried, self._attempts, reason)
        if tried >= self._attempts:
            self._metrics.note_failure(render.engine, "gave_up")
            await self._finish(
                render,
                TaskStatus.FAILED,
                message=f"Rendering failed {tried} times; last: {reason}",
                detail="Try a smaller min_resolution or a shorter duration. If it goes on, the server's log says more.",
            )
            return
        await self._update(render, TaskStatus.PENDING, stage="queued", message=f"Waiting for another attempt: {reason}")
        self.enqueue(render)

    async def _finish(self, render: Render, status: TaskStatus, progress: float = 0.0, **values: object) -> None:
        """Stores how a render ended, however long the database takes to be able to: the work was done."""
        stage = "done" if status is TaskStatus.COMPLETED else "failed"
        (self._folder(render.id) / STATE_FILE).unlink(missing_ok=True)
        while True:
            try:
                await self._update(render, status, progress=progress, stage=stage, finished_at=self._clock(), **values)
                break
            except StoreFailure as error:
                log.error("render %s: its end could not be stored yet: %s", render.id, error)
                await asyncio.sleep(WARM_CHECK_S)
        log.info("render %s: %s, %s", render.id, status.value, values.get("message"))

    async def _update(self, render: Render, status: TaskStatus, progress: float = 0.0, **values: object) -> None:
        values["updated_at"] = self._clock()
        await asyncio.to_thread(self._store.update, render.id, status, progress=progress, **values)


class ProgressLog:
    """Stores a render's progress: each new stage at once, else twice a second."""

    def __init__(self, store: TaskStore, render_id: str, clock: Callable[[], datetime]) -> None:
        self._store, self._render_id, self._clock = store, render_id, clock
        self._stage, self._due = "", 0.0

    async def __call__(self, progress: Progress) -> None:
        """Notes one step."""
        now = asyncio.get_running_loop().time()
        if progress.stage == self._stage and now < self._due:
            return
        self._stage, self._due = progress.stage, now + PROGRESS_EVERY_S
        with suppress(StoreFailure):  # a word lost on the way matters less than the render
            await asyncio.to_thread(
                self._store.update,
                self._render_id,
                TaskStatus.PROCESSING,
                progress=min(progress.fraction, 0.99),  # 1.0 is for a file that is in place
                stage=progress.stage,
                message=progress.message,
                updated_at=self._clock(),
            )
