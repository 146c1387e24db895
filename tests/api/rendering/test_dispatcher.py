"""The dispatcher with slots that have no process, on files in a folder and in memory."""

import asyncio
import errno
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.rendering import dispatcher as module
from api.rendering.dispatcher import GAVE_UP, MOST_MOVES, RESTARTED
from api.rendering.slots import EngineLost, Loss, NodeLost, NoRoom, RenderRefused
from api.settings import Settings
from api.storage.files import Attempt, StorageFailure
from api.storage.local import LocalFiles
from api.tasks.model import Render, TaskStatus
from api.tasks.store import TaskStore, sqlite_url
from dice_talk.error_codes import ErrorCode
from tests.api.made import NOW, has_output, state_of, upload, video_of, work
from tests.api.rendering.house import House, render_all, started, until
from tests.api.rendering.memory import RESULT, MemorySlot
from tests.api.storage.memory import MemoryFiles

CRASH = EngineLost("the engine process exited with code 1")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WARM_CHECK_S", 0.01)


@pytest.fixture(params=["folder", "memory"])
def house(request: pytest.FixtureRequest, store: TaskStore, settings: Settings, tmp_path: Path) -> House:
    return House(store, LocalFiles(settings) if request.param == "folder" else MemoryFiles(tmp_path))


def test_renders_are_taken_in_the_order_of_their_acceptance(house: House) -> None:
    slot = MemorySlot(gated=True)

    async def scenario() -> None:
        (first,) = house.accept("first")
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.rendered)
            later = house.accept("c", "a", "b")
            for render in (later[2], later[0], later[1]):
                dispatcher.enqueue(render.number, render.id)
            assert dispatcher.waiting == 3
            assert dispatcher.is_held(first.id)
            assert not dispatcher.is_held("c")
            slot.open.set()
            await until(lambda: house.ended(dispatcher))
            assert dispatcher.waiting == 0

    asyncio.run(scenario())
    assert slot.rendered == ["first", "c", "a", "b"]


def test_a_finished_render_has_its_video_and_says_what_it_holds(house: House) -> None:
    house.accept("a")
    slot = MemorySlot()
    render_all(house, slot)
    render = house.render("a")
    assert (render.status, render.progress, render.message) == (TaskStatus.COMPLETED, 1.0, "Completed")
    assert (render.stage, render.step, render.steps) == ("done", 0, 0)
    assert render.result == asdict(RESULT)
    data = video_of(house.files, "a")
    assert data == b"the video of a"
    assert house.store.made_at(hashlib.sha256(data).hexdigest()) == render.finished_at
    assert not has_output(house.files, slot.jobs[0].attempt)


def test_slots_render_at_the_same_time(house: House) -> None:
    slots = [MemorySlot(f"slot {number}", gated=True) for number in (1, 2)]
    house.accept("a", "b", "c")

    async def scenario() -> None:
        async with started(house.dispatcher(*slots)) as dispatcher:
            await until(lambda: all(slot.busy for slot in slots))
            assert dispatcher.waiting == 1
            for slot in slots:
                slot.open.set()
            await until(lambda: house.ended(dispatcher))

    asyncio.run(scenario())
    assert sorted(slots[0].rendered + slots[1].rendered) == ["a", "b", "c"]


def test_a_job_tells_all_that_a_slot_needs(house: House) -> None:
    (render,) = house.accept("a")
    slot = MemorySlot()
    render_all(house, slot)
    (job,) = slot.jobs
    assert (job.engine, job.options, job.labels.produce_id) == ("lite", render.options, "a")
    assert job.attempt.render_id == "a"


def test_cancelling_what_waits(house: House) -> None:
    slot = MemorySlot(gated=True)
    house.accept("a", "b")
    work(house.files, house.files.begin("b"), state=b"half way")

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.busy)
            await house.cancel(dispatcher, "b")
            assert dispatcher.waiting == 0
            await asyncio.wait_for(dispatcher.wait_released("b"), 1)
            slot.open.set()
            await until(lambda: house.ended(dispatcher))

    asyncio.run(scenario())
    assert slot.rendered == ["a"]
    assert house.state("b") == ("FAILED", 0, "Cancelled")
    assert state_of(house.files, "b") is None


def test_cancelling_what_runs(house: House) -> None:
    slot = MemorySlot(gated=True)
    house.accept("a", "b")
    work(house.files, house.files.begin("a"), state=b"half way")

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.busy)
            await house.cancel(dispatcher, "a")
            assert dispatcher.is_held("a")
            await dispatcher.wait_released("a")
            assert slot.cancelled == ["a"]
            slot.open.set()
            await until(lambda: house.ended(dispatcher))

    asyncio.run(scenario())
    assert slot.rendered == ["a", "b"], "the slot goes on"
    assert house.state("a") == ("FAILED", 1, "Cancelled")
    assert not house.files.has_video("a")
    assert state_of(house.files, "a") is None
    assert not has_output(house.files, slot.jobs[0].attempt)
    assert house.failures() == {}


def test_a_video_that_nobody_wants_any_more_is_dropped(house: House) -> None:
    """It was cancelled when the slot had just ended."""
    slot = MemorySlot(gated=True)
    house.accept("a")

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.busy)
            snapshot = house.store.snapshot("a")
            assert snapshot
            assert house.store.cancel(snapshot.task, NOW)
            slot.open.set()
            await until(lambda: not dispatcher.is_held("a"))

    asyncio.run(scenario())
    assert house.state("a") == ("FAILED", 1, "Cancelled")
    assert not house.files.has_video("a")


class Slow(MemoryFiles):
    """Takes its time to let go of an attempt."""

    def abandon(self, attempt: Attempt) -> None:
        time.sleep(0.1)
        super().abandon(attempt)


@pytest.mark.parametrize("loss", [CRASH, NoRoom()])
def test_another_slot_takes_a_lost_render_once_the_first_has_let_go_of_it(
    store: TaskStore, tmp_path: Path, loss: Exception
) -> None:
    house = House(store, Slow(tmp_path))
    first, second = MemorySlot("slot 1", [loss]), MemorySlot("slot 2", [loss])

    async def scenario() -> None:
        house.accept("r1")
        async with started(house.dispatcher(first, second)) as dispatcher:
            await until(lambda: house.ended(dispatcher))
            assert not dispatcher.is_held("r1")
            for render in house.accept(*(f"later{number}" for number in range(4))):
                dispatcher.enqueue(render.number, render.id)
            await until(lambda: house.ended(dispatcher))
            assert all(not worker.done() for worker in dispatcher._workers.values())

    asyncio.run(scenario())
    assert first.rendered
    assert second.rendered


def test_a_lost_attempt_is_made_again_alone(house: House) -> None:
    house.accept("a", "b")
    slot = MemorySlot(outcomes=[CRASH])
    render_all(house, slot)
    assert slot.rendered == ["a", "a", "b"], "it keeps its place"
    assert slot.reserved == [False, True, False]
    assert house.state("a") == ("COMPLETED", 2, "Completed")
    assert house.failures() == {"engine": 1}
    assert slot.jobs[0].attempt != slot.jobs[1].attempt
    assert not has_output(house.files, slot.jobs[0].attempt)


def test_the_state_outlives_a_lost_attempt_and_goes_at_the_end(house: House) -> None:
    house.accept("a")
    seen = []

    class Resuming(MemorySlot):
        async def render(self, job: Any, on_progress: Any) -> Any:
            seen.append(state_of(job.files, "a"))
            work(job.files, job.attempt, state=b"half way")
            return await super().render(job, on_progress)

    render_all(house, Resuming(outcomes=[CRASH]))
    assert seen == [None, b"half way"]
    assert state_of(house.files, "a") is None


@pytest.mark.parametrize("loss", Loss)
def test_an_attempt_too_many(house: House, loss: Loss) -> None:
    house.accept("a")
    slot = MemorySlot(outcomes=[EngineLost("it broke", loss)] * 2)
    render_all(house, slot, attempts=2)
    code, message, detail = GAVE_UP[loss]
    assert house.state("a") == ("FAILED", 2, message.format(reason="it broke"))
    render = house.render("a")
    assert (render.detail, render.stage, render.error_code) == (detail, "failed", code.value)
    assert render.error_params == {"reason": "it broke"}
    assert house.failures() == {"engine": 2, "gave_up": 1}


def test_while_another_attempt_is_waited_for_its_reason_is_told(house: House) -> None:
    house.accept("a")

    class Hesitant(MemorySlot):
        @asynccontextmanager
        async def reserve(self, engine: str, *, alone: bool) -> AsyncIterator[None]:
            self.reserved.append(alone)
            if alone:
                await asyncio.sleep(600)
            yield

    slot = Hesitant(outcomes=[CRASH])

    async def scenario() -> None:
        async with started(house.dispatcher(slot)):
            await until(lambda: slot.reserved == [False, True])

    asyncio.run(scenario())
    assert house.state("a") == ("PENDING", 1, f"Waiting for another attempt: {CRASH}")
    assert (house.render("a").stage, house.render("a").steps) == ("queued", 0)


def test_a_refused_input_is_not_tried_again(house: House) -> None:
    house.accept("a")
    slot = MemorySlot(outcomes=[RenderRefused(ErrorCode.NO_FACE, "No face was found", "Send a clear portrait.")])
    render_all(house, slot)
    assert house.state("a") == ("FAILED", 1, "No face was found")
    assert (house.render("a").detail, house.render("a").error_code) == ("Send a clear portrait.", "no_face")
    assert slot.rendered == ["a"]
    assert house.failures() == {"input": 1}


def test_a_full_disk_costs_no_attempt(house: House) -> None:
    house.accept("a")
    slot = MemorySlot(outcomes=[NoRoom(), NoRoom(), NoRoom()])
    render_all(house, slot, attempts=2)
    assert house.state("a") == ("COMPLETED", 1, "Completed")
    assert len(slot.rendered) == 4
    assert slot.reserved == [False] * 4, "it was not to blame"
    assert house.failures() == {"disk": 3}


class Failing(MemoryFiles):
    """Cannot commit the first video."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(folder)
        self.errors = [error]

    def commit(self, attempt: Attempt) -> str:
        if self.errors:
            raise self.errors.pop()
        return super().commit(attempt)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(OSError(errno.ENOSPC, "the disk"), 1), (StorageFailure(), 1), (OSError(errno.EIO, "the disk"), 2)],
)
def test_a_video_that_cannot_be_committed_is_rendered_again(
    store: TaskStore, tmp_path: Path, error: OSError, attempts: int
) -> None:
    """Without counting where there was no room; any other failure of the disk is one of the attempt."""
    house = House(store, Failing(tmp_path, error))
    house.accept("a")
    slot = MemorySlot()
    render_all(house, slot)
    assert house.state("a") == ("COMPLETED", attempts, "Completed")
    assert slot.rendered == ["a", "a"]


def test_nothing_is_taken_while_there_is_no_room(store: TaskStore, tmp_path: Path) -> None:
    files = MemoryFiles(tmp_path)
    house = House(store, files)
    house.accept("a")
    slot = MemorySlot(outcomes=[NoRoom()])

    async def scenario() -> None:
        files.full = True
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.rendered)
            await asyncio.sleep(0.1)
            assert slot.rendered == ["a"]
            files.full = False
            await until(lambda: house.ended(dispatcher))

    asyncio.run(scenario())
    assert slot.rendered == ["a", "a"]


def test_an_engine_that_does_not_start_costs_no_attempt(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.accept("a")

    class Broken(MemorySlot):
        async def warm_up(self, engine: str) -> None:
            await super().warm_up(engine)
            if self.warmings < 3:
                raise EngineLost("the models are not there")

    slot = Broken()

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.warmings == 2)
            slot.warmings = 10
            await until(lambda: house.ended(dispatcher))

    asyncio.run(scenario())
    assert house.state("a") == ("COMPLETED", 1, "Completed")
    assert "slot 1: the lite engine could not be started: the models are not there" in caplog.text


def test_stopping_puts_back_what_runs_and_keeps_its_state(house: House) -> None:
    slot = MemorySlot(gated=True)
    house.accept("a", "b")

    async def scenario() -> None:
        dispatcher = house.dispatcher(slot)
        await dispatcher.start("lite")
        await until(lambda: slot.busy)
        work(house.files, slot.jobs[0].attempt, state=b"half way")
        await dispatcher.stop(0)
        assert not dispatcher.is_held("a")

    asyncio.run(scenario())
    assert house.pool.closed
    assert house.state("a") == ("PENDING", 0, RESTARTED), "the attempt does not count"
    assert house.state("b") == ("PENDING", 0, "Waiting in queue")
    assert not has_output(house.files, slot.jobs[0].attempt)
    assert state_of(house.files, "a") == b"half way"
    again = MemorySlot()
    render_all(house, again)
    assert again.rendered == ["a", "b"]
    assert house.state("a") == ("COMPLETED", 1, "Completed")


def test_a_grace_for_what_runs_and_nothing_new(house: House) -> None:
    slots = [MemorySlot(f"slot {number}", gated=True) for number in (1, 2)]
    house.accept("a")

    async def scenario() -> None:
        dispatcher = house.dispatcher(*slots)
        await dispatcher.start("lite")
        await until(lambda: any(slot.busy for slot in slots))
        (late,) = house.accept("b")
        stopping = asyncio.create_task(dispatcher.stop(600))
        await asyncio.sleep(0)
        dispatcher.enqueue(late.number, late.id)
        await asyncio.sleep(0.05)
        assert not stopping.done()
        for slot in slots:
            slot.open.set()
        await stopping

    asyncio.run(scenario())
    assert house.state("a") == ("COMPLETED", 1, "Completed")
    assert house.state("b") == ("PENDING", 0, "Waiting in queue")
    assert house.pool.closed


def test_a_grace_can_be_ended(house: House) -> None:
    slot = MemorySlot(gated=True)
    house.accept("a")

    async def scenario() -> None:
        dispatcher = house.dispatcher(slot)
        dispatcher.end_grace()  # before the start: nothing happens
        await dispatcher.start("lite")
        await until(lambda: slot.busy)
        stopping = asyncio.create_task(dispatcher.stop(600))
        await asyncio.sleep(0)
        dispatcher.end_grace()
        await asyncio.wait_for(stopping, 10)

    asyncio.run(scenario())
    assert house.state("a") == ("PENDING", 0, RESTARTED)


def test_draining_takes_nothing_more(house: House) -> None:
    slot = MemorySlot(gated=True)
    house.accept("a", "b")

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.busy)
            dispatcher.start_draining()
            slot.open.set()
            await until(lambda: not dispatcher.is_held("a"))
            await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert slot.rendered == ["a"]
    assert house.state("b")[0] == "PENDING"


def test_an_idle_slot_takes_nothing_once_the_service_drains(house: House) -> None:
    slot = MemorySlot()

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            await until(lambda: slot.warmings)
            (render,) = house.accept("a")
            dispatcher.start_draining()
            dispatcher.enqueue(render.number, render.id)
            await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert slot.rendered == []


def test_a_render_that_a_killed_service_left_counts_its_attempt(house: House) -> None:
    (left,) = house.accept("a")
    house.store.update(left.id, TaskStatus.PROCESSING, attempts=1, progress=0.5)
    slot = MemorySlot()
    render_all(house, slot)
    assert slot.reserved == [True]
    assert house.state("a") == ("COMPLETED", 2, "Completed")


def test_a_render_that_kills_the_service_again_and_again_is_given_up(house: House) -> None:
    (left,) = house.accept("a")
    house.store.update(left.id, TaskStatus.PROCESSING, attempts=3)
    slot = MemorySlot()
    render_all(house, slot)
    assert slot.rendered == []
    assert house.state("a") == ("FAILED", 3, "Rendering was interrupted too often")
    assert house.failures() == {"gave_up": 1}


def test_how_many_wait(house: House) -> None:
    dispatcher = house.dispatcher()
    for count, render in enumerate(house.accept("a", "b")):
        assert dispatcher.waiting == count
        for _ in range(2):  # it may be heard of twice
            dispatcher.enqueue(render.number, render.id)
    asyncio.run(dispatcher.cancel("a"))
    assert dispatcher.waiting == 1
    asyncio.run(dispatcher.cancel("unknown"))
    assert dispatcher.waiting == 1


def test_only_a_first_attempt_teaches_how_long_it_takes(house: House) -> None:
    house.accept("a", "b")

    async def scenario() -> None:
        async with started(house.dispatcher(MemorySlot(outcomes=[CRASH]))):
            await until(house.store.timings)

    asyncio.run(scenario())
    assert not house.store.unfinished()
    (timing,) = house.store.timings()
    assert (timing.workload.engine, timing.workload.pixels, timing.workload.frames) == ("lite", 256 * 256, 24)
    assert timing.seconds >= 0


class Shaky(TaskStore):
    """A real database that fails now and then."""

    failures: Sequence[str] = ()

    def _fail(self, call: str) -> None:
        if self.failures and self.failures[0] == call:
            self.failures = self.failures[1:]
            raise sa.exc.OperationalError("SQL", {}, Exception("disk I/O error"))

    def render(self, render_id: str) -> Render | None:
        self._fail("read")
        return super().render(render_id)

    def update(self, render_id: str, status: TaskStatus, **values: Any) -> bool:
        self._fail(status.value)
        return super().update(render_id, status, **values)


@pytest.mark.parametrize(
    ("failures", "attempts"),
    [
        (["read"], 1),
        (["PROCESSING"], 1),
        (["COMPLETED", "COMPLETED"], 1),
    ],
)
def test_a_render_outlives_a_database_that_fails(
    settings: Settings, tmp_path: Path, failures: list[str], attempts: int
) -> None:
    store = Shaky(sqlite_url(tmp_path / "shaky.db"))
    house = House(store, LocalFiles(settings))
    house.accept("a")
    store.failures = failures
    slot = MemorySlot()
    render_all(house, slot)
    assert store.failures == []
    assert house.state("a") == ("COMPLETED", attempts, "Completed")
    assert house.files.has_video("a")
    assert slot.rendered == ["a"], "what was rendered is not rendered again"
    store.close()


def test_a_render_whose_row_is_gone_is_passed_over(house: House) -> None:
    upload(house.files, "a")
    slot = MemorySlot()

    async def scenario() -> None:
        async with started(house.dispatcher(slot)) as dispatcher:
            dispatcher.enqueue(1, "a")
            await until(lambda: dispatcher.waiting == 0 and not dispatcher.is_held("a"))

    asyncio.run(scenario())
    assert slot.rendered == []


LOST = NodeLost("node-1 does not answer")


def test_a_lost_node_costs_no_attempt(house: House) -> None:
    house.accept("a")
    slot = MemorySlot(outcomes=[LOST] * MOST_MOVES)
    render_all(house, slot, attempts=1)
    assert house.state("a") == ("COMPLETED", 1, "Completed")
    assert slot.reserved == [False] * (MOST_MOVES + 1), "it was not to blame"
    assert house.failures() == {"node": MOST_MOVES}


def test_a_render_that_takes_every_node_with_it_is_given_up(house: House) -> None:
    house.accept("a", "b")
    slot = MemorySlot(outcomes=[LOST] * (MOST_MOVES + 2))
    render_all(house, slot, attempts=2)
    assert house.state("a") == ("FAILED", 2, GAVE_UP[Loss.CRASH][1].format(reason=LOST))
    assert house.state("b") == ("COMPLETED", 1, "Completed"), "they are counted for each render"


def test_slots_come_and_go(house: House) -> None:
    first, second = MemorySlot("slot 1", gated=True), MemorySlot("slot 2", gated=True)
    house.accept("a", "b", "c")

    async def scenario() -> None:
        async with started(house.dispatcher()) as dispatcher:
            await asyncio.sleep(0.05)
            assert (dispatcher.waiting, house.pool.demand()) == (3, 3)
            house.pool.change(first)
            await until(lambda: first.rendered == ["a"])
            house.pool.change(first, second)
            await until(lambda: second.rendered == ["b"])
            assert (dispatcher.waiting, house.pool.demand()) == (1, 3)
            house.pool.change(second)
            first.open.set()
            await until(lambda: house.state("a")[0] == "COMPLETED")
            await asyncio.sleep(0.05)
            assert first.rendered == ["a"], "it ended what it had begun, and got nothing more"
            second.open.set()
            await until(lambda: house.ended(dispatcher))
            house.pool.change()
            assert not [worker for worker in dispatcher._workers.values() if not worker.cancelling()]

    asyncio.run(scenario())
    assert second.rendered == ["b", "c"]


def test_where_a_video_was_made_is_noted(house: House) -> None:
    house.accept("a")
    slot = MemorySlot()
    slot.location = "node-1"
    render_all(house, slot)
    assert house.render("a").result == {**asdict(RESULT), "node": "node-1"}
