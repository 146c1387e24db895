"""Slots whose engines run in child processes of this machine."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import anyio

from api.rendering.engine_process import EngineProcess
from api.rendering.slots import EngineLost, OnProgress, RenderRefused, SlotJob
from api.threads import entered
from dice_talk.engine import RenderJob, RenderResult
from dice_talk.engines import spec_of

Command = Callable[[str], list[str]]
"""The command line that serves the engine of that name."""


class EnginePool:
    """All engine processes: one per slot, or one for all slots if an engine holds its weights once."""

    def __init__(self, command: Command, *, load_seconds: float, stall_seconds: float) -> None:
        self._command, self._load_seconds, self._stall_seconds = command, load_seconds, stall_seconds
        self._processes: dict[tuple[str, int], EngineProcess] = {}
        self._starting: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, engine: str, slot: int) -> EngineProcess:
        """Return the running process for a slot and an engine. Raises `EngineLost` or `RenderRefused`."""
        key = (engine, 0 if spec_of(engine).one_process else slot)
        async with self._starting[key]:
            process = self._processes.get(key)
            if process is None or not process.alive:
                label = f"{engine} for all slots" if key[1] == 0 else f"{engine} for slot {slot}"
                process = self._processes[key] = await EngineProcess.start(
                    self._command(engine), label, load_seconds=self._load_seconds, stall_seconds=self._stall_seconds
                )
            return process

    def ready(self, engine: str) -> bool:
        """Whether a process of that engine runs, with its models loaded. Safe in any thread, like `pids`."""
        return any(name == engine and process.alive for (name, _), process in list(self._processes.items()))

    def pids(self) -> list[int]:
        """Return the ids of running processes."""
        return [process.pid for process in list(self._processes.values()) if process.alive]

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(process.stop() for process in self._processes.values()), return_exceptions=True)
        self._processes.clear()


class LocalSlot:
    """Renders in an engine process of this machine. Implements `Slot`."""

    location = "local"

    def __init__(self, number: int, engines: EnginePool, lock: "SharedExclusiveLock", *, gpu: bool) -> None:
        """`lock`: shared by all slots of the pool. `gpu`: whether the machine has one."""
        self.name = f"slot {number}"
        self.busy = False
        self.broken: str | None = None
        self.engine: str | None = None
        self.device = "cpu"
        self._number, self._engines, self._lock, self._gpu = number, engines, lock, gpu

    def ready(self, engine: str) -> bool:
        """See `Slot.ready`."""
        return self._engines.ready(engine)

    async def warm_up(self, engine: str) -> None:
        """See `Slot.warm_up`."""
        await self._process(engine)

    async def _process(self, engine: str) -> EngineProcess:
        try:
            process = await self._engines.get(engine, self._number)
        except (EngineLost, RenderRefused) as error:
            self.broken = str(error)
            raise
        self.broken, self.engine = None, engine
        self.device = "gpu" if self._gpu and spec_of(engine).gpu else "cpu"
        return process

    def reserve(self, engine: str, *, alone: bool) -> AbstractAsyncContextManager[None]:
        """See `Slot.reserve`."""
        return self._lock.hold(exclusive=alone) if spec_of(engine).one_process else nullcontext()

    async def render(self, job: SlotJob, on_progress: OnProgress) -> RenderResult:
        """See `Slot.render`."""
        self.busy = True
        try:
            with anyio.CancelScope(shield=True):  # a cancelled task must not end an engine that others wait for
                process = await self._process(job.engine)
            async with entered(job.files.workspace(job.attempt)) as work:
                render = RenderJob(work.image, work.audio, work.output, job.options, work.state, job.labels)
                return await process.render(render, on_progress)
        finally:
            self.busy = False


class LocalSlots:
    """Slots that share a pool of engine processes. Implements `SlotPool`."""

    problem, reachable = None, True

    def __init__(self, count: int, engines: EnginePool, *, gpu: bool = False) -> None:
        lock = SharedExclusiveLock()
        self.slots = [LocalSlot(number, engines, lock, gpu=gpu) for number in range(1, count + 1)]
        self._engines = engines

    async def start(self, engine: str, demand: Callable[[], int], changed: Callable[[], None]) -> None:
        """See `SlotPool.start`. There are always as many slots as the operator wants."""

    async def rest(self) -> None:
        """See `SlotPool.rest`. Its engines stay loaded: no other server could use them."""

    async def close(self) -> None:
        """See `SlotPool.close`."""
        await self._engines.close()


class SharedExclusiveLock:
    """Any number of holders that share it, or one that holds it exclusively. Exclusive holders go first.

    When a shared engine process dies, all its renders are lost and nobody knows which one was to blame. The second
    attempt at each is therefore made alone: what brings a process down again then costs no other render an attempt.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._holders, self._exclusive = 0, 0  # the second counts those that wait, too

    @asynccontextmanager
    async def hold(self, *, exclusive: bool) -> AsyncIterator[None]:
        """Wait for the lock and hold it."""
        async with self._changed:
            self._exclusive += exclusive
            try:
                await self._changed.wait_for(lambda: not (self._holders if exclusive else self._exclusive))
            except BaseException:
                self._exclusive -= exclusive
                self._changed.notify_all()
                raise
            self._holders += 1
        try:
            yield
        finally:
            async with self._changed:
                self._holders -= 1
                self._exclusive -= exclusive
                self._changed.notify_all()
