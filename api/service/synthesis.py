"""Reports on tasks, hands out results, cancels and removes tasks."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import anyio

from api.errors import Conflict, TaskNotCompleted, Unavailable
from api.metrics import Load
from api.rendering.dispatcher import Dispatcher
from api.rendering.previews import Preview
from api.schemas.service import Health, NodeSlots
from api.schemas.tasks import SecondsRange, TaskPage, TaskState
from api.service.admission import RETRY_LATER, Admission
from api.service.describe import describe_span, describe_task
from api.service.events import CHECK_EVERY_S, Events, Feed
from api.service.lookup import TaskLookup, visible
from api.settings import Settings
from api.storage.files import RenderFiles
from api.tasks.cache import TaskSnapshot
from api.tasks.cursor import decode_cursor, encode_cursor
from api.tasks.forecast import Forecast, Workload
from api.tasks.leadership import SlotReport
from api.tasks.model import FINAL, Task, TaskStatus
from api.tasks.notices import Change
from api.tasks.store import StoreFailure, TaskStore
from dice_talk import __version__
from dice_talk.engines import choose_engine, weights_of
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

log = logging.getLogger(__name__)

UNLABELLED_KEPT = timedelta(days=184)
"""At least six months: how long requests for a video without the visible label are kept."""
RELEASE_S = 10.0
"""How long removing a running task waits for its engine. After that, the files go with the next sweep."""
STORE_AGAIN_S = 2.0


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("what another server has written could not be followed: %s", error)


class Synthesis:
    """Everything that clients do with tasks once `Admission` has accepted them."""

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        files: RenderFiles,
        dispatcher: Dispatcher,
        admission: Admission,
        *,
        clock: Callable[[], datetime],
        gpu: bool,
    ) -> None:
        self._settings, self._store, self._files, self._clock, self._gpu = settings, store, files, clock, gpu
        self._dispatcher, self._admission, self._lookup = dispatcher, admission, TaskLookup(store)
        self._forecast = Forecast()
        self._events = Events(self._look)
        self._sweeping = asyncio.Lock()
        self._at_work: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Accept nothing from now on. A second call ends the time that running tasks are given."""
        if self._admission.closed:
            self._dispatcher.end_grace()
        self._admission.closed = True
        self._dispatcher.start_draining()

    async def drain(self) -> None:
        """Give running tasks their time to end, and leave the rest to the next start. Further calls do nothing."""
        self._admission.closed = True
        await self._dispatcher.stop(self._settings.shutdown_seconds)
        with suppress(StoreFailure):
            await self._events.update()  # tells the ends of those that made it
        self._events.close()

    async def status(self, task_id: str, owner: str | None) -> TaskState:
        """Return a task's state. Raises `TaskNotFound`."""
        return self._describe(visible(await self._lookup.snapshot(task_id), owner))

    async def _look(self, task_id: str) -> tuple[TaskState, Preview | None] | None:
        snapshot = await self._lookup.recent(task_id)
        if snapshot is None:
            return None
        preview = self._dispatcher.previews.latest(snapshot.task.render.id)
        return self._describe(replace(snapshot, task=snapshot.task.as_seen_by_client())), preview

    def _describe(self, snapshot: TaskSnapshot) -> TaskState:
        return describe_task(snapshot, self._forecast, self._clock(), self._settings.checkpoints_dir)

    def foresee(self, workload: Workload) -> SecondsRange | None:
        """Return how long a render of that size would take once it has begun; None if that is not known."""
        return describe_span(self._forecast.foresee(workload))

    def page(self, owner: str | None, statuses: Collection[TaskStatus], limit: int, cursor: str | None) -> TaskPage:
        """Return a page of an owner's tasks, newest first. Blocking. Raises `InvalidValue` for an invalid cursor."""
        after = decode_cursor(cursor) if cursor else None
        found = self._store.page(owner, statuses, limit + 1, after)
        more = encode_cursor(found[limit - 1].task) if len(found) > limit else None
        return TaskPage(
            tasks=[self._describe(visible(snapshot, owner)) for snapshot in found[:limit]], next_cursor=more
        )

    async def feed(self, task_id: str, owner: str | None) -> Feed:
        """What happens to a task. Raises `TaskNotFound`."""
        return self._events.feed(await self.status(task_id, owner))

    async def watch(self) -> None:
        """Keep forecasts and feeds up to date until cancelled."""
        generation = None
        while True:
            try:
                if generation != (generation := self._store.generation()):
                    await asyncio.to_thread(self._foresee)
                await self._events.update()
            except StoreFailure as error:
                log.error("tasks cannot be looked at: %s", error)
                await asyncio.sleep(STORE_AGAIN_S)
            except Exception:
                log.exception("Tasks could not be looked at")
            await asyncio.sleep(CHECK_EVERY_S)

    def _foresee(self) -> None:
        slots = max(1, self._slots().slots)
        self._forecast.renew(self._store.unfinished(), self._store.timings(), slots, self._clock())

    def _slots(self) -> SlotReport:
        """Return what the slots do, if need be those of the server that dispatches. Blocking."""
        one = self._dispatcher.leading or self._store.leadership is None
        return self._dispatcher.report() if one else self._store.slot_report()

    async def cancel(self, task_id: str, owner: str | None) -> TaskState:
        """End a task. Its render goes on if other tasks share it. Raises `TaskNotFound` or `Conflict`."""
        task = await self._lookup.find(task_id, owner)
        if not await asyncio.to_thread(self._store.cancel, task, self._clock()):
            raise Conflict(ErrorCode.TASK_ENDED, "The task has ended already")
        await self._cancel_unwanted(task.render.id)
        log.info("task %s cancelled", task_id)
        return await self.status(task_id, owner)

    async def remove(self, task_id: str, owner: str | None) -> None:
        """Forget a task at once, and remove its files unless other tasks share them. Raises `TaskNotFound`."""
        task = await self._lookup.find(task_id, owner)
        await asyncio.to_thread(self._store.remove, task, self._clock())
        unwanted = await self._cancel_unwanted(task.render.id)
        log.info("task %s removed by its client", task_id)
        await self._sweep_after(task.render.id if unwanted else None)

    async def _sweep_after(self, render_id: str | None) -> None:
        """Sweep once no slot uses that render's files, which may take a moment."""
        if render_id:
            with anyio.move_on_after(RELEASE_S):
                await self._dispatcher.wait_released(render_id)
        await self.sweep()

    def hear(self, change: Change | None) -> None:
        """Take notice of what another server has written; None: perhaps of much. Called in the event loop."""
        if not self._dispatcher.leading:
            return
        if change is None:
            self._begin(self._dispatcher.look_for_work())
        elif change.number is not None:
            self._dispatcher.enqueue(change.number, change.render_id)
        elif change.unwanted:
            self._begin(self._dispatcher.cancel(change.render_id))
        if change and change.removed:
            self._begin(self._sweep_after(change.render_id if change.unwanted else None))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background. If it fails, the next sweep or look for work does the same."""
        task = asyncio.create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        task.add_done_callback(_log_failure)

    async def _cancel_unwanted(self, render_id: str) -> bool:
        """Cancel a render if the store ended it with its last task. Returns whether it did."""
        render = await asyncio.to_thread(self._store.render, render_id)
        if render is None or render.status is not TaskStatus.FAILED:
            return False
        await self._dispatcher.cancel(render_id)
        return True

    def completed(self, task_id: str, owner: str | None) -> Task:
        """Return a task whose video is finished. Blocking. Raises `TaskNotFound` or `TaskNotCompleted`."""
        task = visible(self._store.snapshot(task_id), owner).task
        render = task.render
        if render.status is not TaskStatus.COMPLETED:
            detail = f"It failed: {render.message}" if render.status in FINAL else "Ask for its status until COMPLETED."
            raise TaskNotCompleted(ErrorCode.TASK_NOT_COMPLETED, "Task not completed yet", detail)
        return task

    def load(self) -> Load:
        """Return how busy the service is. Blocking."""
        slots, waiting = self._dispatcher.report(), self._dispatcher.waiting
        with suppress(StoreFailure):
            slots, waiting = self._slots(), self._store.waiting()
        return Load(
            queue_length=waiting,
            queue_size=self._settings.queue_size,
            slots=slots.slots,
            slots_busy=slots.busy,
            uploads=self._admission.uploads,
            nodes=slots.nodes if self._settings.render_on == "ray" else {},
        )

    def refuse_when_not_ready(self) -> None:
        """Raises `QueueFull` or `Unavailable` if no task can be accepted now. Blocking."""
        if problem := self._look_around()[-1]:
            raise Unavailable(ErrorCode.NOT_READY, "The service is not ready", problem, RETRY_LATER)
        self._admission.refuse_when_closed()
        self._admission.refuse_when_full()

    def health(self) -> Health:
        """Return whether the service can accept and render tasks. Blocking."""
        slots, waiting, engine, problem = self._look_around()
        stuck = not slots.slots and not slots.reachable  # if it is reachable, tasks that wait may bring slots
        return Health(
            status="unhealthy" if problem or stuck else "healthy",
            gpu_available=self._gpu or slots.gpu,
            model_loaded=engine in slots.ready,
            version=__version__,
            engine=engine,
            weights=weights_of(engine, self._settings.checkpoints_dir) if engine else None,
            queue_length=waiting,
            queue_size=self._settings.queue_size,
            slots=slots.slots,
            slots_busy=slots.busy,
            nodes=_nodes(slots) if self._settings.render_on == "ray" else None,
            detail=problem or slots.lack,
        )

    def _look_around(self) -> tuple[SlotReport, int, str | None, str | None]:
        """Return what the slots do, how many tasks wait, the engine, and why no task should be accepted. Blocking."""
        slots, waiting, engine, problem = self._dispatcher.report(), self._dispatcher.waiting, None, None
        try:
            engine = choose_engine(self._settings.engine, self._settings.checkpoints_dir)
        except EngineUnavailable as error:
            problem = f"{error}. {error.detail}"
        try:
            slots, waiting = self._slots(), self._store.waiting()
            problem = "The server is shutting down" if self._admission.closed else problem or slots.broken
        except StoreFailure:
            problem = "The database does not answer"
        if problem is None and (found := self._files.problem()):
            problem = found.words
        return slots, waiting, engine, problem

    async def sweep(self) -> int:
        """Remove tasks that ended longer ago than the retention time, and renders without a task, with their files.

        Of several servers, only the one that dispatches does: it knows whose files are in use. Returns the number of
        renders.
        """
        if not self._dispatcher.leading:
            return 0
        cutoff = self._clock() - timedelta(hours=self._settings.retention_hours)
        async with self._sweeping:
            expired = await asyncio.to_thread(self._store.expired, cutoff)
            gone = [render_id for render_id in expired if not self._dispatcher.is_held(render_id)]
            # Before the rows: on a full disk, the database has no room to forget them. A folder that is still written
            # to may survive this; its row then stays for the next sweep.
            removed = await asyncio.to_thread(self._files.remove, *gone)
            await asyncio.to_thread(self._store.purge, cutoff, removed)
        await asyncio.to_thread(
            self._store.forget_labels,
            made_before=min(cutoff, self._clock() - timedelta(days=self._settings.verify_days)),
            asked_before=self._clock() - UNLABELLED_KEPT,
        )
        if removed:
            log.info("%d renders removed that are too old or belong to no task", len(removed))
        return len(removed)


def _nodes(slots: SlotReport) -> list[NodeSlots]:
    return [NodeSlots(name=name, slots=count, slots_busy=busy) for name, (count, busy) in sorted(slots.nodes.items())]
