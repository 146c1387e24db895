"""A dispatcher and what it needs, to be watched from outside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from api.clock import Clock
from api.metrics import Load, Metrics
from api.rendering.dispatcher import Dispatcher
from api.storage.files import RenderFiles
from api.tasks.model import Render
from api.tasks.store import TaskStore
from tests.api.made import NOW, accept
from tests.api.rendering.memory import MemorySlot, MemorySlots


class House:
    """A dispatcher with its store and its files."""

    def __init__(self, store: TaskStore, files: RenderFiles) -> None:
        self.store, self.files = store, files
        self.metrics = Metrics(lambda: [])

    def dispatcher(self, *slots: MemorySlot, attempts: int = 3) -> Dispatcher:
        self.pool = MemorySlots(*slots)
        return Dispatcher(self.store, self.files, self.pool, attempts=attempts, clock=Clock(), metrics=self.metrics)

    def accept(self, *render_ids: str, **changes: Any) -> list[Render]:
        return [accept(self.store, self.files, render_id, **changes) for render_id in render_ids]

    def render(self, render_id: str) -> Render:
        render = self.store.render(render_id)
        assert render
        return render

    def state(self, render_id: str) -> tuple[str, int, str]:
        render = self.render(render_id)
        return render.status.value, render.attempts, render.message

    async def cancel(self, dispatcher: Dispatcher, render_id: str) -> None:
        """As `Synthesis` does."""
        snapshot = self.store.snapshot(render_id)
        assert snapshot
        assert self.store.cancel(snapshot.task, NOW)
        await dispatcher.cancel(render_id)

    def ended(self, dispatcher: Dispatcher) -> bool:
        """Whether all renders have ended, and no slot has anything left to do for one."""
        ids = self.store.render_ids()
        return not any(map(dispatcher.is_held, ids)) and not self.store.unfinished()

    def failures(self) -> dict[str, int]:
        text = self.metrics.text(Load(0, 0, 0, 0, 0)).decode()
        lines = [line for line in text.splitlines() if line.startswith("dice_talk_failures_total{")]
        kinds = {line.split('kind="')[1].split('"')[0]: int(float(line.rsplit(" ", 1)[1])) for line in lines}
        return {kind: count for kind, count in kinds.items() if count}


@asynccontextmanager
async def started(dispatcher: Dispatcher) -> AsyncIterator[Dispatcher]:
    await dispatcher.start("lite")
    try:
        with anyio.fail_after(20):
            yield dispatcher
    finally:
        await dispatcher.stop(0)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def render_all(house: House, *slots: MemorySlot, **limits: int) -> None:
    """Start a dispatcher and wait until everything has ended."""

    async def scenario() -> None:
        async with started(house.dispatcher(*slots, **limits)) as dispatcher:
            await until(lambda: house.ended(dispatcher))

    asyncio.run(scenario())
