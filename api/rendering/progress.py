"""Stores a render's progress while it runs."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

from api.rendering.previews import Previews
from api.tasks.leadership import Superseded
from api.tasks.model import TaskStatus
from api.tasks.store import StoreFailure, TaskStore
from api.threads import run_to_the_end
from dice_talk.engine import Progress

PROGRESS_EVERY_S = 0.5
"""Progress within a stage is stored this often. Clients poll every few seconds."""
MOST = 0.99
"""1.0 is kept for a video that is in place."""


class ProgressLog:
    """Stores each new stage at once, and progress within a stage twice a second."""

    def __init__(
        self, store: TaskStore, render_id: str, clock: Callable[[], datetime], previews: Previews | None = None
    ) -> None:
        self._store, self._render_id, self._clock = store, render_id, clock
        self._previews = previews or Previews()
        self._stage, self._due = "", 0.0

    async def __call__(self, progress: Progress) -> None:
        """Note one step."""
        self._previews.note(self._render_id, progress)
        now = asyncio.get_running_loop().time()
        if progress.stage == self._stage and now < self._due:
            return
        self._stage, self._due = progress.stage, now + PROGRESS_EVERY_S
        with suppress(StoreFailure, Superseded):  # a lost progress report matters less than the render
            update = partial(
                self._store.update,
                self._render_id,
                TaskStatus.PROCESSING,
                progress=min(progress.fraction, MOST),
                stage=progress.stage,
                message=progress.message,
                step=progress.step,
                steps=progress.steps,
                updated_at=self._clock(),
            )
            await run_to_the_end(update)
