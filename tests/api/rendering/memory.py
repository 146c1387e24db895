"""Slots without any process. Each does what its script says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from api.rendering.slots import OnProgress, SlotJob
from api.threads import entered
from dice_talk.engine import Progress, RenderResult

RESULT = RenderResult(256, 256, 24, 24, 1.0)


class MemorySlot:
    """Implements `Slot`.

    `outcomes`: what the first renders raise, None for those that succeed, as all later ones do. `gated`: whether
    renders wait for `open`.
    """

    location, device = "local", "none"

    def __init__(self, name: str = "slot 1", outcomes: Sequence[Exception | None] = (), *, gated: bool = False) -> None:
        self.name, self.busy = name, False
        self.engine: str | None = None
        self.broken: str | None = None
        self.rendered: list[str] = []  # ids of renders, in the order of their attempts
        self.reserved: list[bool] = []  # whether alone
        self.cancelled: list[str] = []
        self.warmings = 0
        self.open = asyncio.Event()
        self.jobs: list[SlotJob] = []
        self._outcomes = list(outcomes)
        if not gated:
            self.open.set()

    def ready(self, engine: str) -> bool:
        return self.warmings > 0 and self.broken is None

    async def warm_up(self, engine: str) -> None:
        self.warmings += 1
        self.engine = engine

    @asynccontextmanager
    async def reserve(self, engine: str, *, alone: bool) -> AsyncIterator[None]:
        self.reserved.append(alone)
        yield

    async def render(self, job: SlotJob, on_progress: OnProgress) -> RenderResult:
        self.rendered.append(job.attempt.render_id)
        self.jobs.append(job)
        self.busy = True
        try:
            await on_progress(Progress("render", "Generating video...", 0.5, step=1, steps=2))
            async with entered(job.files.workspace(job.attempt)) as work:
                work.output.write_bytes(b"half a video")
                await self.open.wait()
                outcome = self._outcomes.pop(0) if self._outcomes else None
                if outcome:
                    raise outcome
                work.output.write_bytes(f"the video of {job.attempt.render_id}".encode())
                return RESULT
        except asyncio.CancelledError:
            self.cancelled.append(job.attempt.render_id)
            raise
        finally:
            self.busy = False


class MemorySlots:
    """Implements `SlotPool`. Slots come and go by `change`."""

    def __init__(self, *slots: MemorySlot) -> None:
        self.slots, self.closed, self.rested = slots, False, False
        self.problem: str | None = None
        self.reachable = True
        self.demand: Callable[[], int] = lambda: 0
        self._changed: Callable[[], None] = lambda: None

    async def start(self, engine: str, demand: Callable[[], int], changed: Callable[[], None]) -> None:
        self.demand, self._changed = demand, changed

    def change(self, *slots: MemorySlot) -> None:
        self.slots = slots
        self._changed()

    async def rest(self) -> None:
        self.rested = True

    async def close(self) -> None:
        self.closed = True
