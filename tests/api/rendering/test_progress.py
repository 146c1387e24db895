"""Progress on its way to the database: how often, never whole, and in order."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.rendering import progress as module
from api.rendering.progress import MOST, ProgressLog
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore, sqlite_url
from dice_talk.engine import Progress
from tests.api.made import NOW, make_task


class Counting(TaskStore):
    """Notes what is written; may fail, or take as long as it is told to."""

    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        self.written: list[tuple[str, int]] = []
        self.failing = False
        self.go_on = threading.Event()
        self.go_on.set()

    def update(self, render_id: str, status: TaskStatus, **values: Any) -> bool:
        self.go_on.wait(20)
        if self.failing:
            raise sa.exc.OperationalError("SQL", {}, Exception("disk I/O error"))
        self.written.append((values["stage"], values["step"]))
        return super().update(render_id, status, **values)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Counting(sqlite_url(tmp_path / "test.db"))
    store.add(make_task())
    yield store
    store.close()


def tell(store: TaskStore, *steps: Progress) -> None:
    async def scenario() -> None:
        log = ProgressLog(store, "a", lambda: NOW)
        for step in steps:
            await log(step)

    asyncio.run(scenario())


def test_all_of_a_step_is_stored(store: Counting) -> None:
    tell(store, Progress("render", "Generating video...", 0.25, step=3, steps=12))
    render = store.render("a")
    assert render
    assert (render.status, render.progress, render.stage) == (TaskStatus.PROCESSING, 0.25, "render")
    assert (render.message, render.step, render.steps, render.updated_at) == ("Generating video...", 3, 12, NOW)


def test_before_the_file_is_there_progress_is_less_than_one(store: Counting) -> None:
    tell(store, Progress("render", "...", 1.0))
    render = store.render("a")
    assert render
    assert render.progress == MOST == 0.99


def test_each_stage_is_stored_at_once_and_few_of_its_steps(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_EVERY_S", 600)
    steps = [Progress(stage, "...", 0.1, step, 9) for stage in ("listen", "render") for step in range(9)]
    tell(store, *steps)
    assert store.written == [("listen", 0), ("render", 0)]


def test_steps_are_stored_again_after_a_while(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_EVERY_S", 0.0)
    tell(store, *(Progress("render", "...", 0.1, step, 9) for step in range(3)))
    assert store.written == [("render", 0), ("render", 1), ("render", 2)]


def test_a_database_that_fails_is_no_reason_to_end_a_render(store: Counting) -> None:
    store.failing = True
    tell(store, Progress("render", "...", 0.1))
    assert store.written == []


def test_a_write_that_has_begun_comes_before_the_next_one(store: Counting) -> None:
    """Else progress that was on its way would move a render that was put back to PROCESSING again."""

    async def scenario() -> None:
        store.go_on.clear()
        log = ProgressLog(store, "a", lambda: NOW)
        writing = asyncio.create_task(log(Progress("render", "...", 0.1)))
        await asyncio.sleep(0.02)
        writing.cancel()
        await asyncio.sleep(0.02)
        assert not writing.done()
        store.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert store.written == [("render", 0)]

    asyncio.run(scenario())
