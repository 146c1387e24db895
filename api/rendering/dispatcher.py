"""Hands waiting renders to idle slots, in the order in which they were accepted."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any

import anyio

from api.logs import working_on
from api.metrics import Metrics
from api.rendering.previews import Previews
from api.rendering.progress import ProgressLog
from api.rendering.slots import EngineLost, Loss, NodeLost, NoRoom, RenderRefused, Slot, SlotJob, SlotPool
from api.storage.files import Attempt, RenderFiles, StorageFailure
from api.tasks.forecast import Timing, Workload
from api.tasks.leadership import SlotReport, Superseded
from api.tasks.model import FINAL, Render, TaskStatus
from api.tasks.store import StoreFailure, TaskStore
from api.threads import run_to_the_end
from dice_talk.engine import RenderResult
from dice_talk.engines import ENGINES, spec_of
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, no_room
from dice_talk.labels import Labels

log = logging.getLogger(__name__)

WARM_CHECK_S, MAX_PAUSE_S = 2.0, 60.0
"""How often an idle slot checks its engine; the pause grows to the second figure while the engine cannot start."""
MOST_MOVES = 10
"""How often a render may lose its node without an attempt being counted: some renders take every node with them."""
GAVE_UP = {
    Loss.CRASH: (
        ErrorCode.ENGINE_LOST,
        "The server could not render this picture; its log says more. Last: {reason}",
        "This is a fault of the server, not of your files. Tell its operator, or use another picture.",
    ),
    Loss.MEMORY: (
        ErrorCode.OUT_OF_MEMORY,
        "The server probably ran out of memory. Last: {reason}",
        "Try a smaller min_resolution or a shorter duration. If it goes on, the server's log says more.",
    ),
    Loss.SILENCE: (
        ErrorCode.TIMED_OUT,
        "The server took too long over this video. Last: {reason}",
        "The server may be overloaded. Try again later. If it goes on, the server's log says more.",
    ),
}
"""Code, message and detail of a task whose last attempt was lost, by the reason. The message does not count attempts,
because a task that joined the render late has not seen all of them."""
RESTARTED = "Waiting in queue again after a restart"
QUEUED: dict[str, Any] = {"stage": "queued", "step": 0, "steps": 0}


@contextmanager
def _needing_room() -> Iterator[None]:
    """Raises `NoRoom` where the disk is full."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise NoRoom from error
        raise


@dataclass
class Hold:
    """A slot's hold on a render: from when it leaves the queue until the slot no longer uses its files."""

    rendering: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    again: bool = False
    """Whether to queue the render again. Not before it is released: another slot would take it at once."""


class Dispatcher:
    """Owns the queue, and keeps the slots busy."""

    def __init__(
        self,
        store: TaskStore,
        files: RenderFiles,
        pool: SlotPool,
        *,
        attempts: int,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self.pool, self.previews = pool, Previews()
        self._store, self._files, self._clock, self._metrics = store, files, clock, metrics
        self._attempts = attempts
        self.leading, self.stopped = store.leadership is None, False  # of several servers, one leads
        self._queue: asyncio.PriorityQueue[tuple[int, str]] = asyncio.PriorityQueue()
        self._waiting: set[str] = set()  # the queue also holds renders that were cancelled since
        self._held: dict[str, Hold] = {}
        self._occupied: set[Slot] = set()  # slots with a render, from taking it to storing its end
        self._workers: dict[Slot, asyncio.Task[None]] = {}
        self._moves = Counter[str]()  # nodes lost, by render
        self._room_pause = 0.0
        self._draining = False
        self._impatient = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots at present."""
        return self.pool.slots

    @property
    def waiting(self) -> int:
        """Renders in the queue."""
        return len(self._waiting)

    def enqueue(self, number: int, render_id: str) -> None:
        """Queue a stored render, if this server dispatches and has not got it yet. `number`: its place in the order."""
        if self.leading and render_id not in self._waiting and render_id not in self._held:
            self._put(number, render_id)

    def _put(self, number: int, render_id: str) -> None:
        self._waiting.add(render_id)
        self._queue.put_nowait((number, render_id))

    async def cancel(self, render_id: str) -> None:
        """Take a render that has ended in the store out of the queue, or stop it within one step."""
        if hold := self._held.get(render_id):
            hold.rendering.cancel()
        elif render_id in self._waiting:
            self._waiting.remove(render_id)
            await asyncio.to_thread(self._files.drop_state, render_id)

    def is_held(self, render_id: str) -> bool:
        """Whether a slot still uses that render's files."""
        return render_id in self._held

    async def wait_released(self, render_id: str) -> None:
        """Wait until no slot uses that render's files."""
        if hold := self._held.get(render_id):
            await hold.released.wait()

    def report(self) -> SlotReport:
        """Return what the slots do. Blocking."""
        ready = [engine for engine in list(ENGINES) if any(slot.ready(engine) for slot in self.slots)]
        broken = None
        if self.slots and all(slot.broken for slot in self.slots):
            broken = f"No engine process can be started: {self.slots[0].broken}"
        nodes: dict[str, list[int]] = {}
        for slot in self.slots:
            count, busy = nodes.get(slot.location, [0, 0])
            nodes[slot.location] = [count + 1, busy + slot.busy]
        return SlotReport(
            slots=len(self.slots),
            busy=sum(slot.busy for slot in self.slots),
            ready=ready,
            broken=broken,
            nodes=nodes,
            gpu=any(slot.device == "gpu" for slot in self.slots),
            lack=self.pool.problem,
            reachable=self.pool.reachable,
        )

    async def start(self, engine: str) -> None:
        """Queue what an earlier run of the service left unfinished, and start the slots. `engine` is loaded ahead."""
        self._loop, self.leading = asyncio.get_running_loop(), True
        for render in await asyncio.to_thread(self._store.unfinished):
            if render.status is TaskStatus.PROCESSING:  # the service was killed; the attempt counts, or it could
                with suppress(StoreFailure):  # happen for ever. If the disk is full, it is rendered all the same.
                    await self._update(render, TaskStatus.PENDING, message=RESTARTED, **QUEUED)
            self.enqueue(render.number, render.id)
        await self.pool.start(engine, lambda: self.waiting + len(self._occupied), lambda: self._employ(engine))
        self._employ(engine)

    def _employ(self, engine: str) -> None:
        """Start a worker for each slot that has come, and end the idle workers of those that have gone."""
        present = set(self.slots) if self.leading and not self._draining else set()
        for slot in present - self._workers.keys():
            self._workers[slot] = asyncio.create_task(self._serve(slot, engine))
        for slot in self._workers.keys() - set(self.slots) - self._occupied:
            self._workers.pop(slot).cancel()

    async def look_for_work(self) -> None:
        """Queue what was accepted by other servers, in case that their word was missed."""
        for render in await asyncio.to_thread(self._store.unfinished):
            if render.status is TaskStatus.PENDING:
                self.enqueue(render.number, render.id)

    async def resign(self) -> None:
        """End all that runs without storing anything: another server does it now."""
        self.leading = False
        self._files.stop_waiting()
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._queue = asyncio.PriorityQueue()
        self._waiting.clear()
        await self.pool.rest()

    def start_draining(self) -> None:
        """Take nothing more from the queue. Safe in a signal handler."""
        self._draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Give running renders some time to end, return the rest to the queue for the next start, close the slots."""
        self.start_draining()
        workers = list(self._workers.values())  # none if another server leads
        for slot, worker in self._workers.items():
            if slot not in self._occupied:
                worker.cancel()
        if workers:
            impatient = asyncio.create_task(self._impatient.wait())
            ended = asyncio.gather(*workers, return_exceptions=True)
            await asyncio.wait((impatient, ended), timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
            impatient.cancel()
        self._files.stop_waiting()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await self.pool.close()
        self.leading, self.stopped = False, True

    def end_grace(self) -> None:
        """End the time that `stop` gives. Safe in a signal handler, which does not wake the event loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._impatient.set)

    async def _serve(self, slot: Slot, engine: str) -> None:
        pause = WARM_CHECK_S
        while not self._draining and slot in self.slots:
            warm = await self._keep_warm(slot, engine)
            pause = WARM_CHECK_S if warm else min(2 * pause, MAX_PAUSE_S)
            if not warm:  # else every waiting render would lose its attempts, one after the other
                await asyncio.sleep(pause)
            if self._room_pause:
                await asyncio.sleep(self._room_pause)
                if await asyncio.to_thread(self._files.problem):
                    continue
            waiting = None
            with anyio.move_on_after(pause):
                waiting = await self._queue.get()
            if waiting and waiting[1] in self._waiting and not self._draining:
                with working_on(waiting[1]):
                    await self._run_or_put_back(slot, *waiting)

    async def _keep_warm(self, slot: Slot, engine: str) -> bool:
        """Whether the slot's engine runs, restarting it if needed: it may have been killed while idle."""
        try:
            await slot.warm_up(engine)
        except Exception as error:  # noqa: BLE001 - the slot must try again, for any reason that an engine won't start
            log.error("%s: the %s engine could not be started: %s", slot.name, engine, error)
            return False
        return True

    async def _run_or_put_back(self, slot: Slot, number: int, render_id: str) -> None:
        self._waiting.remove(render_id)
        self._occupied.add(slot)
        hold = self._held[render_id] = Hold()
        try:
            await self._take_on(slot, render_id, hold)
        except Superseded:
            log.warning("%s: render %s is left to another server", slot.name, render_id)
        except Exception as error:
            # The store failed, perhaps because the disk is full. The render is still in it and must not be forgotten.
            reason = None if isinstance(error, StoreFailure) else error
            log.error("%s: render %s put back: %s", slot.name, render_id, error, exc_info=reason)
            await asyncio.sleep(WARM_CHECK_S)
            hold.again = True
        finally:
            try:
                if hold.rendering.cancel_called:
                    await run_to_the_end(partial(self._files.drop_state, render_id))
            finally:
                del self._held[render_id]
                self._occupied.discard(slot)
                hold.released.set()
                if hold.again:
                    self._put(number, render_id)
                else:
                    del self._moves[render_id]  # a Counter takes it well if it has none

    async def _take_on(self, slot: Slot, render_id: str, hold: Hold) -> None:
        render = await asyncio.to_thread(self._store.render, render_id)
        if render is None or render.status in FINAL:
            return
        if render.attempts >= self._attempts:
            self._metrics.note_failure(render.engine, "gave_up")
            await self._fail(render, DiceTalkError(ErrorCode.INTERRUPTED, "Rendering was interrupted too often"))
            return
        async with slot.reserve(render.engine, alone=render.attempts > 0):
            await self._run(slot, render, hold)

    async def _run(self, slot: Slot, render: Render, hold: Hold) -> None:
        """Make one attempt at one render. Nothing is stored for a render that was cancelled meanwhile."""
        started, began = self._clock(), monotonic()
        attempt = self._files.begin(render.id)
        try:
            begin: dict[str, Any] = {"attempts": render.attempts + 1, "started_at": started, "stage": "load"}
            if not await self._update(render, TaskStatus.PROCESSING, message="Starting", **begin):
                return
            log.info("%s: render %s started with %s", slot.name, render.id, render.engine)
            result = await self._render(slot, render, attempt, hold)
            if result is None:
                log.info("render %s cancelled", render.id)
                return
            sha256 = await self._commit(attempt)
        except RenderRefused as error:
            self._metrics.note_failure(render.engine, "input")
            await self._fail(render, error)
        except EngineLost as error:
            self._metrics.note_failure(render.engine, "engine")
            hold.again = await self._retry(render, error)
        except NodeLost as error:
            self._metrics.note_failure(render.engine, "node")
            hold.again = await self._move(render, error)
        except (NoRoom, StorageFailure) as error:
            hold.again = await self._wait_for_room(render, error)
        except asyncio.CancelledError:
            # The server stops, which is not the render's fault: the attempt does not count.
            if self.leading and await self._requeue(render, RESTARTED, attempts=render.attempts):
                log.info("render %s goes on at the next start", render.id)
            raise
        else:
            self._room_pause = 0.0
            where = {} if slot.location == "local" else {"node": slot.location}
            end: dict[str, Any] = {"message": "Completed", "result": asdict(result) | where, "sha256": sha256}
            if not await self._finish(render, TaskStatus.COMPLETED, progress=1.0, **end):
                await asyncio.to_thread(self._files.drop_video, render.id)
                return
            self._metrics.note_render(render.engine, monotonic() - began, result.seconds)
            if render.attempts == 0:  # a later attempt may have resumed where the first was cut off
                await self._learn(render, started)
        finally:
            self.previews.forget(render.id)
            await run_to_the_end(partial(self._files.abandon, attempt))

    async def _render(self, slot: Slot, render: Render, attempt: Attempt, hold: Hold) -> RenderResult | None:
        """Return None if the render was cancelled."""
        labels = Labels.of(render.labels, render.id, spec_of(render.engine).source_type)
        job = SlotJob(render.engine, render.options, labels, self._files, attempt)
        with hold.rendering, _needing_room():
            return await slot.render(job, ProgressLog(self._store, render.id, self._clock, self.previews))
        return None

    async def _learn(self, render: Render, started: datetime) -> None:
        timing = Timing(Workload.of_render(render), (self._clock() - started).total_seconds())
        with suppress(StoreFailure):  # the next render teaches the same
            await asyncio.to_thread(self._store.add_timing, timing)

    async def _commit(self, attempt: Attempt) -> str:
        with _needing_room():
            return await asyncio.to_thread(self._files.commit, attempt)

    async def _retry(self, render: Render, reason: EngineLost) -> bool:
        """Whether the render is to be queued again."""
        tried = render.attempts + 1
        log.error("render %s, attempt %d of %d: %s", render.id, tried, self._attempts, reason)
        if tried >= self._attempts:
            self._metrics.note_failure(render.engine, "gave_up")
            await self._fail(render, DiceTalkError(*GAVE_UP[reason.loss], reason=str(reason)))
            return False
        return await self._requeue(render, f"Waiting for another attempt: {reason}")

    async def _move(self, render: Render, reason: NodeLost) -> bool:
        """Whether the render is to be queued again. The attempt counts only if the render has moved too often."""
        self._moves[render.id] += 1
        if self._moves[render.id] > MOST_MOVES:
            return await self._retry(render, EngineLost(str(reason)))
        log.warning("render %s moves: %s", render.id, reason)
        return await self._requeue(render, f"Waiting for another attempt: {reason}", attempts=render.attempts)

    async def _wait_for_room(self, render: Render, error: NoRoom | StorageFailure) -> bool:
        """Slow down. Returns whether the render is to be queued again, as an attempt that does not count."""
        self._room_pause = min(max(WARM_CHECK_S, 2 * self._room_pause), MAX_PAUSE_S)
        self._metrics.note_failure(render.engine, "disk" if isinstance(error, NoRoom) else "storage")
        log.error("render %s waits for room: %s", render.id, error)
        return await self._requeue(render, f"Waiting for another attempt: {error}", attempts=render.attempts)

    async def _requeue(self, render: Render, message: str, **values: Any) -> bool:
        return await self._update(render, TaskStatus.PENDING, message=message, **QUEUED, **values)

    async def _fail(self, render: Render, error: DiceTalkError) -> None:
        await self._finish(
            render,
            TaskStatus.FAILED,
            message=str(error),
            detail=error.detail,
            error_code=error.code.value,
            error_params=error.params or None,
        )

    async def _finish(self, render: Render, status: TaskStatus, progress: float = 0.0, **values: Any) -> bool:
        """Store how a render ended, retrying until the database can: the work was done.

        Returns False if it had ended already, because nobody wants it any more.
        """
        values |= {"stage": "done" if status is TaskStatus.COMPLETED else "failed", "step": 0, "steps": 0}
        while True:
            try:
                ended = await self._update(render, status, progress=progress, finished_at=self._clock(), **values)
                break
            except StoreFailure as error:
                log.error("render %s: its end could not be stored yet: %s", render.id, error)
                await asyncio.sleep(WARM_CHECK_S)
        with suppress(OSError):  # not before: until then, another attempt may have to resume from it
            await run_to_the_end(partial(self._files.drop_state, render.id))
        if ended:
            log.info("render %s: %s, %s", render.id, status.value, values.get("message"))
        return ended

    async def _update(self, render: Render, status: TaskStatus, progress: float = 0.0, **values: Any) -> bool:
        values["updated_at"] = self._clock()
        return await run_to_the_end(partial(self._store.update, render.id, status, progress=progress, **values))
