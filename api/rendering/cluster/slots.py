"""Slots on a Ray cluster, as the server sees them. Implements the seam of `api.rendering.slots`."""

import asyncio
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from api.rendering.cluster.driver_process import DriverProcess
from api.rendering.cluster.plan import Plan, identities
from api.rendering.local import Command, SharedExclusiveLock
from api.rendering.slots import EngineLost, OnProgress, SlotJob
from api.settings import Settings
from api.threads import entered
from dice_talk.engine import RenderJob, RenderResult
from dice_talk.engines import spec_of

LEASE_S = 120.0
DRIVER = [sys.executable, "-m", "api.rendering.cluster.driver"]
DEMAND_EVERY_S = 0.5


class RaySlot:
    """A place in an actor. Implements `Slot`."""

    def __init__(self, facts: Mapping[str, Any], driver: DriverProcess, lock: SharedExclusiveLock) -> None:
        """`lock`: shared by all slots of the actor."""
        self.id: str = facts["name"]
        self.location: str = facts["location"]
        self.device: str = facts["device"]
        self.name = f"slot {self.id} on {self.location}"
        self.engine: str | None = None
        self.busy = False
        self.broken: str | None = None
        self._loaded: list[str] = []
        self._known = asyncio.Event()
        self._driver, self._lock = driver, lock
        self.update(facts)

    def update(self, facts: Mapping[str, Any]) -> None:
        """Note what the actor says of its engine."""
        self.broken, self._loaded = facts["broken"], facts["loaded"]
        self.engine = self._loaded[0] if self._loaded else None
        if self.broken or self._loaded:
            self._known.set()
        else:
            self._known.clear()

    def ready(self, engine: str) -> bool:
        """See `Slot.ready`."""
        return engine in self._loaded

    async def warm_up(self, engine: str) -> None:
        """See `Slot.warm_up`. The actor does so by itself; here, it is waited for."""
        await self._known.wait()
        if self.broken:
            raise EngineLost(self.broken)

    def reserve(self, engine: str, *, alone: bool) -> AbstractAsyncContextManager[None]:
        """See `Slot.reserve`."""
        return self._lock.hold(exclusive=alone) if spec_of(engine).one_process else nullcontext()

    async def render(self, job: SlotJob, on_progress: OnProgress) -> RenderResult:
        """See `Slot.render`."""
        self.busy = True
        try:
            async with entered(job.files.workspace(job.attempt)) as work:
                render = RenderJob(work.image, work.audio, work.output, job.options, work.state, job.labels)
                return await self._driver.render(self.id, job.engine, render, on_progress)
        finally:
            self.busy = False


class RaySlots:
    """The slots of all nodes. Implements `SlotPool`."""

    def __init__(
        self, settings: Settings, command: Command, *, driver: Sequence[str] = DRIVER, lease_seconds: float = LEASE_S
    ) -> None:
        """`driver`: starts the driver. `lease_seconds`: how long actors wait for a server."""
        self._settings, self._command = settings, command
        self._driver_command, self._lease_seconds = list(driver), lease_seconds
        self._slots: dict[str, RaySlot] = {}
        self._locks: WeakValueDictionary[str, SharedExclusiveLock] = WeakValueDictionary()
        self.problem: str | None = None
        self.reachable = False
        self._driver: DriverProcess | None = None
        self._changed: Callable[[], None] = lambda: None
        self._watching: asyncio.Task[None] | None = None

    @property
    def slots(self) -> Sequence[RaySlot]:
        """See `SlotPool.slots`."""
        return list(self._slots.values())

    async def start(self, engine: str, demand: Callable[[], int], changed: Callable[[], None]) -> None:
        """See `SlotPool.start`. Does not wait for the cluster."""
        plan = await asyncio.to_thread(self._plan, engine)
        self._changed = changed
        self._driver = DriverProcess(self._driver_command, plan, self._note)
        await self._driver.start()
        self._watching = asyncio.create_task(self._watch(demand))

    def _plan(self, engine: str) -> Plan:
        settings, relative = self._settings, str(self._settings.checkpoints_dir)
        checkpoints, known = str(Path(relative).absolute()), identities(Path(relative))
        commands = {name: self._command(name)[1:] for name in known}
        return Plan(
            address=settings.ray_address,
            server=uuid.uuid4().hex,
            engine=engine,
            identities=known,
            commands={
                name: [checkpoints if word == relative else word for word in words] for name, words in commands.items()
            },
            checkpoints=checkpoints,
            load_seconds=settings.load_seconds,
            stall_seconds=settings.stall_seconds,
            lease_seconds=self._lease_seconds,
            max_slots=settings.max_slots,
            idle_seconds=settings.idle_slot_seconds,
        )

    async def _watch(self, demand: Callable[[], int]) -> None:
        while True:
            if self._driver:
                self._driver.want(demand())
            await asyncio.sleep(DEMAND_EVERY_S)

    def _note(
        self, driver: DriverProcess, slots: Sequence[Mapping[str, Any]], reachable: bool, problem: str | None
    ) -> None:
        """Note which slots there are."""
        self.reachable, self.problem = reachable, problem
        present = {facts["name"]: facts for facts in slots}
        for name in self._slots.keys() - present.keys():
            del self._slots[name]
        for name, facts in present.items():
            if slot := self._slots.get(name):
                slot.update(facts)
            else:
                lock = self._locks.setdefault(facts["seat"], SharedExclusiveLock())
                self._slots[name] = RaySlot(facts, driver, lock)
        self._changed()

    async def rest(self) -> None:
        """See `SlotPool.rest`. The actors keep their models for the next server, for a while."""
        if self._watching:
            self._watching.cancel()
        if self._driver:
            await self._driver.close()
        self._slots.clear()

    async def close(self) -> None:
        """See `SlotPool.close`."""
        await self.rest()
