"""Waiting renders go to the first idle slot, in the order of their acceptance."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import anyio

from api.engines import EngineLost, EnginePool, Loss, NoRoom, TaskFailed
from api.eta import Size, Timing
from api.files import settle, sha256_of
from api.logs import working_on
from api.metrics import Metrics
from api.slots import Company, Slot
from api.store import StoreFailure, TaskStore
from api.tasks import FINAL, Render, TaskStatus
from dice_talk.engine import ENGINES, Progress, RenderJob
from dice_talk.errors import no_room
from dice_talk.labels import Labels

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
"""A stage's progress is stored this often; clients poll every few seconds."""
WARM_CHECK_S, MAX_PAUSE_S = 2.0, 60.0
"""How often an idle slot sees to its engine, and how seldom at last while that can't be started."""
STATE_FILE = "state"
"""In a render's folder: how far its engine is, so that a later attempt can go on from there."""
WORDS = {
    Loss.CRASH: (
        "The server could not render this picture; its log says more. Last: {reason}",
        "This is a fault of the server, not of your files. Tell its operator, or use another picture.",
    ),
    Loss.MEMORY: (
        "The server's memory ran out, as it seems. Last: {reason}",
        "Try a smaller min_resolution or a shorter duration. If it goes on, the server's log says more.",
    ),
    Loss.SILENCE: (
        "The server took too long over this video. Last: {reason}",
        "The server may be overloaded. Try again later. If it goes on, the server's log says more.",
    ),
}
"""Message and detail of a task whose attempts are used up, by why the last one was lost. A task that joined the render
later is told of no attempts before, so the message does not count them."""
RESTARTED = "Waiting in queue again after a restart"
QUEUED: dict[str, Any] = {"stage": "queued", "step": 0, "steps": 0}


@dataclass(frozen=True)
class Hold:
    """A slot's hold on a render, from when it is taken from the queue until its files are left alone."""

    rendering: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    released: asyncio.Event = field(default_factory=asyncio.Event)


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
        self._storage_problem, self._room_pause = storage_problem, 0.0
        self._queue_size, self._attempts = queue_size, attempts
        self._queue: asyncio.PriorityQueue[tuple[int, str]] = asyncio.PriorityQueue()
        self._waiting: set[str] = set()  # of what is in the queue, that which still is to be rendered
        self._held: dict[str, Hold] = {}
        self._occupied: set[int] = set()  # numbers of the slots that have a render, from taking it to storing its end
        self._workers: list[asyncio.Task[None]] = []
        self._draining = False
        self._company = Company()
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Renders in the queue."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more may be enqueued."""
        return self.waiting >= self._queue_size

    def enqueue(self, render: Render) -> None:
        """Lets a stored render wait for its turn. Whoever accepts new ones looks at `full` first."""
        self._put(render.number, render.id)

    def _put(self, number: int, render_id: str) -> None:
        self._waiting.add(render_id)
        self._queue.put_nowait((number, render_id))

    def call_off(self, render_id: str) -> None:
        """Takes a render that the store says has ended out of the queue, or stops it within one step."""
        if hold := self._held.get(render_id):
            hold.rendering.cancel()
        elif render_id in self._waiting:
            self._waiting.remove(render_id)
            self._state_file(render_id).unlink(missing_ok=True)

    def holds(self, render_id: str) -> bool:
        """Whether a slot still works on that render's files."""
        return render_id in self._held

    async def released(self, render_id: str) -> None:
        """Waits until no slot works on that render's files."""
        if hold := self._held.get(render_id):
            await hold.released.wait()

    async def start(self, engine: str) -> None:
        """Takes up what an earlier run of the service left, and sets the slots to work. `engine` is loaded ahead."""
        self._loop = asyncio.get_running_loop()
        for render in await asyncio.to_thread(self._store.unfinished):
            if (
                render.status is TaskStatus.PROCESSING
            ):  # the service was killed; the attempt counts, lest it happen for ever
                with suppress(StoreFailure):  # no room on the disk, perhaps; it is rendered all the same
                    await self._update(render, TaskStatus.PENDING, message=RESTARTED, **QUEUED)
            self.enqueue(render)
        self._workers = [asyncio.create_task(self._serve(slot, engine)) for slot in self.slots]

    def begin_nothing(self) -> None:
        """Takes nothing more from the queue. May be called by a signal handler."""
        self._draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing new, gives running renders some time to end, then returns the rest to the queue for later."""
        self.begin_nothing()
        for worker, slot in zip(self._workers, self.slots, strict=True):
            if slot.number not in self._occupied:
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
            if not warm:  # else it would cost all that wait their attempts, one after the other
                await asyncio.sleep(pause)
            if self._room_pause:
                await asyncio.sleep(self._room_pause)
                if self._storage_problem():
                    continue
            waiting = None
            with anyio.move_on_after(pause):
                waiting = await self._queue.get()
            if waiting and waiting[1] in self._waiting and not self._draining:
                with working_on(waiting[1]):
                    await self._run_or_put_back(slot, *waiting)

    async def _run_or_put_back(self, slot: Slot, number: int, render_id: str) -> None:
        self._waiting.remove(render_id)
        self._occupied.add(slot.number)
        hold = self._held[render_id] = Hold()
        try:
            await self._take_on(slot, render_id, hold)
        except Exception as error:
            # The store failed, say because the disk is full: the render is still in it and must not be forgotten.
            reason = None if isinstance(error, StoreFailure) else error
            log.error("%s: render %s put back: %s", slot.label, render_id, error, exc_info=reason)
            await asyncio.sleep(WARM_CHECK_S)
            self._put(number, render_id)
        finally:
            if hold.rendering.cancel_called:
                self._state_file(render_id).unlink(missing_ok=True)
            del self._held[render_id]
            self._occupied.discard(slot.number)
            hold.released.set()

    async def _keep_warm(self, slot: Slot, engine: str) -> bool:
        """Whether the engine runs, also when it had to be started anew; it may have been killed while idle."""
        try:
            await slot.warm_up(engine)
        except Exception as error:  # noqa: BLE001 - whatever keeps an engine from starting, the slot must try again
            log.error("%s: the %s engine could not be started: %s", slot.label, engine, error)
            return False
        return True

    async def _take_on(self, slot: Slot, render_id: str, hold: Hold) -> None:
        render = await asyncio.to_thread(self._store.render, render_id)
        if render is None or render.status in FINAL:
            return
        if render.attempts >= self._attempts:
            self._metrics.note_failure(render.engine, "gave_up")
            await self._finish(render, TaskStatus.FAILED, message="Rendering was interrupted too often")
        elif ENGINES[render.engine].one_process:
            async with self._company.join(alone=render.attempts > 0):
                await self._run(slot, render, hold)
        else:
            await self._run(slot, render, hold)

    async def _run(self, slot: Slot, render: Render, hold: Hold) -> None:
        """One attempt at one render, to whatever end. What it says once the render was called off changes nothing."""
        started, attempts = self._clock(), render.attempts + 1
        start: dict[str, Any] = {"attempts": attempts, "started_at": started, "stage": "load", "message": "Starting"}
        folder, video = self._folder(render.id), self._folder(render.id) / "result.mp4"
        part = folder / f"{secrets.token_hex(8)}.part"  # an engine of a killed service may still write to its own
        labels = Labels.of(render.labels, render.id, ENGINES[render.engine].source_type)
        job = RenderJob(folder / "image", folder / "audio", part, render.options, folder / STATE_FILE, labels)
        began = monotonic()
        try:
            if not await self._update(render, TaskStatus.PROCESSING, **start):
                return
            log.info("%s: render %s started with %s", slot.label, render.id, render.engine)
            result = None
            with hold.rendering:
                result = await slot.run(render.engine, job, ProgressLog(self._store, render.id, self._clock))
            if result is None:
                log.info("render %s called off", render.id)
                return
            sha256 = await asyncio.to_thread(sha256_of, part)
            await self._put_in_place(part, video)
        except TaskFailed as error:
            self._metrics.note_failure(render.engine, "input")
            await self._finish(render, TaskStatus.FAILED, message=str(error), detail=error.detail)
        except EngineLost as error:
            self._metrics.note_failure(render.engine, "engine")
            await self._retry(render, error)
        except NoRoom as error:
            self._room_pause = min(max(WARM_CHECK_S, 2 * self._room_pause), MAX_PAUSE_S)
            self._metrics.note_failure(render.engine, "disk")
            log.error("render %s waits for room: %s", render.id, error)
            message = f"Waiting for another attempt: {error}"  # which doesn't count: the disk is to blame
            if await self._update(render, TaskStatus.PENDING, message=message, attempts=render.attempts, **QUEUED):
                self.enqueue(render)
        except asyncio.CancelledError:
            # Through no fault of its own: the attempt does not count.
            message = RESTARTED
            if await self._update(render, TaskStatus.PENDING, message=message, attempts=render.attempts, **QUEUED):
                log.info("render %s goes on at the next start", render.id)
            raise
        else:
            self._room_pause = 0.0
            end: dict[str, Any] = {"message": "Completed", "result": asdict(result), "sha256": sha256}
            if not await self._finish(render, TaskStatus.COMPLETED, progress=1.0, **end):
                video.unlink(missing_ok=True)
                return
            self._metrics.note_render(render.engine, monotonic() - began, result.seconds)
            if attempts == 1:  # a later one may have gone on where the first was cut off
                await self._learn(render, started)
        finally:
            part.unlink(missing_ok=True)

    async def _learn(self, render: Render, started: datetime) -> None:
        timing = Timing(Size.of_render(render), (self._clock() - started).total_seconds())
        with suppress(StoreFailure):  # the next one teaches the same
            await asyncio.to_thread(self._store.learn, timing)

    def _state_file(self, render_id: str) -> Path:
        return self._folder(render_id) / STATE_FILE

    async def _put_in_place(self, part: Path, video: Path) -> None:
        try:
            await asyncio.to_thread(settle, part, video)
        except OSError as error:
            if no_room(error):
                raise NoRoom from error
            raise

    async def _retry(self, render: Render, reason: EngineLost) -> None:
        tried = render.attempts + 1
        log.error("render %s, attempt %d of %d: %s", render.id, tried, self._attempts, reason)
        if tried >= self._attempts:
            self._metrics.note_failure(render.engine, "gave_up")
            message, detail = WORDS[reason.loss]
            message = message.format(reason=reason)
            await self._finish(render, TaskStatus.FAILED, message=message, detail=detail)
            return
        message = f"Waiting for another attempt: {reason}"
        if await self._update(render, TaskStatus.PENDING, message=message, **QUEUED):
            self.enqueue(render)

    async def _finish(self, render: Render, status: TaskStatus, progress: float = 0.0, **values: Any) -> bool:
        """Stores how a render ended, however long the database takes to be able to: the work was done.

        False when it had ended already: nobody wants it any more.
        """
        values |= {"stage": "done" if status is TaskStatus.COMPLETED else "failed", "step": 0, "steps": 0}
        while True:
            try:
                ended = await self._update(render, status, progress=progress, finished_at=self._clock(), **values)
                break
            except StoreFailure as error:
                log.error("render %s: its end could not be stored yet: %s", render.id, error)
                await asyncio.sleep(WARM_CHECK_S)
        with suppress(OSError):  # not before: until then, another attempt may have to go on from it
            self._state_file(render.id).unlink(missing_ok=True)
        if ended:
            log.info("render %s: %s, %s", render.id, status.value, values.get("message"))
        return ended

    async def _update(self, render: Render, status: TaskStatus, progress: float = 0.0, **values: Any) -> bool:
        values["updated_at"] = self._clock()
        update = asyncio.to_thread(self._store.update, render.id, status, progress=progress, **values)
        writing = asyncio.ensure_future(update)
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # a thread goes on; what is written next must come after it
            raise


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
                step=progress.step,
                steps=progress.steps,
                updated_at=self._clock(),
            )
