"""A slot renders one task at a time in an engine process.

The seam at which slots on other machines can be added: paths and plain dataclasses go in, progress and a result come
out. How engine processes are started, watched and replaced is in `api.engines`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from api.engines import EngineLost, EnginePool, EngineProcess, TaskFailed
from dice_talk.engine import Progress, RenderJob, RenderResult

OnProgress = Callable[[Progress], Awaitable[None]]


class Slot:
    """One place to render at."""

    def __init__(self, number: int, engines: EnginePool) -> None:
        self.number = number
        self.busy = False
        self.broken: str | None = None  # why the last engine process could not be started
        self._engines = engines

    @property
    def label(self) -> str:
        """For the log."""
        return f"slot {self.number}"

    async def warm_up(self, engine: str) -> EngineProcess:
        """Sees to it that the engine's process runs. Raises `EngineLost` or `TaskFailed`."""
        try:
            process = await self._engines.get(engine, self.number)
        except (EngineLost, TaskFailed) as error:
            self.broken = str(error)
            raise
        self.broken = None
        return process

    async def run(self, engine: str, job: RenderJob, on_progress: OnProgress) -> RenderResult:
        """Renders one job. Raises `TaskFailed`, `EngineLost` or `NoRoom`; the next call finds a working process."""
        self.busy = True
        try:
            with anyio.CancelScope(shield=True):  # a task that is cancelled ends no engine that others wait for
                process = await self.warm_up(engine)
            return await process.render(job, on_progress)
        finally:
            self.busy = False


class Company:
    """Who renders beside whom where slots share an engine process.

    When it dies, all its renders are lost, and nobody knows whose fault it was. So a second attempt is made alone: what
    brings a process down again then costs no other render an attempt.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._present, self._loners = 0, 0

    @asynccontextmanager
    async def join(self, *, alone: bool) -> AsyncIterator[None]:
        """Waits until there is nobody else, or nobody who is or wants to be alone."""
        async with self._changed:
            self._loners += alone
            try:
                await self._changed.wait_for(lambda: not (self._present if alone else self._loners))
            except BaseException:
                self._loners -= alone
                self._changed.notify_all()
                raise
            self._present += 1
        try:
            yield
        finally:
            async with self._changed:
                self._present -= 1
                self._loners -= alone
                self._changed.notify_all()
