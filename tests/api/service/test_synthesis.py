"""What clients do with tasks that were accepted."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api.errors import Conflict, InvalidValue, QueueFull, TaskNotCompleted, TaskNotFound, Unavailable
from api.schemas.service import NodeSlots
from api.service.synthesis import UNLABELLED_KEPT
from api.settings import Settings
from api.storage.files import Problem
from api.storage.local import LocalFiles
from api.tasks.forecast import Timing, Workload
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore
from dice_talk.error_codes import ErrorCode
from tests.api.made import NOW, make_render, make_task
from tests.api.parts import Parts, make_parts
from tests.api.rendering.memory import MemorySlot, MemorySlots


def test_a_status_is_for_the_owner(parts: Parts) -> None:
    parts.wait("a", owner="alice")
    state = asyncio.run(parts.synthesis.status("a", "alice"))
    assert (state.task_id, state.queue_position) == ("a", 1)
    for owner in (None, "bob"):
        with pytest.raises(TaskNotFound):
            asyncio.run(parts.synthesis.status("a", owner))


def test_only_a_finished_video_is_handed_out(parts: Parts) -> None:
    parts.wait("a")
    with pytest.raises(TaskNotCompleted, match="Task not completed yet") as refused:
        parts.synthesis.completed("a", None)
    assert refused.value.detail == "Ask for its status until COMPLETED."
    parts.finish("a")
    assert parts.synthesis.completed("a", None).render.status is TaskStatus.COMPLETED
    with pytest.raises(TaskNotFound):
        parts.synthesis.completed("a", "alice")
    parts.wait("b")
    parts.store.update("b", TaskStatus.FAILED, message="No face was found")
    with pytest.raises(TaskNotCompleted) as refused:
        parts.synthesis.completed("b", None)
    assert refused.value.detail == "It failed: No face was found"


def test_cancelling_ends_a_render_that_nobody_else_wants(parts: Parts) -> None:
    parts.wait("a")
    state = asyncio.run(parts.synthesis.cancel("a", None))
    assert (state.status, state.message, state.cancelled) == ("FAILED", "Cancelled", True)
    assert parts.dispatcher.waiting == 0
    assert parts.task("a").render.status is TaskStatus.FAILED
    with pytest.raises(Conflict, match="The task has ended already"):
        asyncio.run(parts.synthesis.cancel("a", None))


def test_cancelling_leaves_a_shared_render_to_others(parts: Parts) -> None:
    render = parts.wait("a")
    parts.store.join(make_task("b", render=render))
    assert asyncio.run(parts.synthesis.cancel("a", None)).cancelled
    assert parts.dispatcher.waiting == 1
    assert asyncio.run(parts.synthesis.status("b", None)).status == "PENDING"
    with pytest.raises(TaskNotFound):
        asyncio.run(parts.synthesis.cancel("b", "alice"))


def test_removing_takes_the_files_along_unless_they_are_shared(parts: Parts) -> None:
    parts.wait("a")
    parts.finish("a")
    parts.store.join(make_task("b", render=parts.task("a").render))
    asyncio.run(parts.synthesis.remove("a", None))
    with pytest.raises(TaskNotFound):
        asyncio.run(parts.synthesis.status("a", None))
    assert parts.files.has_video("a")
    asyncio.run(parts.synthesis.remove("b", None))
    assert not parts.files.has_video("a")
    assert parts.store.render_ids() == set()


def test_removing_what_runs_waits_for_the_slot(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    slot = MemorySlot(gated=True)
    parts = make_parts(settings, store, files, [slot])

    async def scenario() -> None:
        parts.wait("a")
        await parts.dispatcher.start("lite")
        async with asyncio.timeout(10):
            while not slot.busy:
                await asyncio.sleep(0.005)
            await parts.synthesis.remove("a", None)
        assert slot.cancelled == ["a"]
        assert store.render_ids() == set()
        await parts.dispatcher.stop(0)

    asyncio.run(scenario())
    assert not (settings.data_dir / "tasks" / "a").exists()


def test_a_sweep_removes_what_is_too_old_and_nothing_else(parts: Parts) -> None:
    for name in ("old", "fresh", "waiting"):
        parts.wait(name)
    parts.finish("old")
    parts.times[0] = NOW + timedelta(hours=2)
    parts.finish("fresh")
    parts.times[0] = NOW + timedelta(hours=25)
    assert asyncio.run(parts.synthesis.sweep()) == 1
    assert parts.store.render_ids() == {"fresh", "waiting"}
    assert (parts.files.has_video("old"), parts.files.has_video("fresh")) == (False, True)
    assert asyncio.run(parts.synthesis.sweep()) == 0


def test_a_sweep_leaves_what_a_slot_still_writes_to(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.wait("a")
    parts.store.remove(make_task("a"), NOW)
    monkeypatch.setattr(parts.dispatcher, "is_held", lambda render_id: True)
    assert asyncio.run(parts.synthesis.sweep()) == 0
    assert parts.store.render_ids() == {"a"}
    monkeypatch.undo()
    assert asyncio.run(parts.synthesis.sweep()) == 1


def test_a_sweep_leaves_the_row_of_files_that_do_not_go(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.wait("a")
    parts.store.remove(make_task("a"), NOW)
    monkeypatch.setattr(parts.files, "remove", lambda *render_ids: [])
    assert asyncio.run(parts.synthesis.sweep()) == 0
    assert parts.store.render_ids() == {"a"}, "the next sweep tries again"


def test_hashes_and_requests_for_no_label_are_kept_longer(parts: Parts) -> None:
    upload = make_task("a", unlabelled_for="192.0.2.1")
    parts.store.add(upload)
    parts.store.update("a", TaskStatus.PROCESSING)
    parts.store.update("a", TaskStatus.COMPLETED, sha256="hash", finished_at=NOW)
    for days, unlabelled, hashes in ((180, 1, True), (UNLABELLED_KEPT.days + 1, 0, True), (366, 0, False)):
        parts.times[0] = NOW + timedelta(days=days)
        asyncio.run(parts.synthesis.sweep())
        assert (len(parts.store.unlabelled()), parts.store.made_at("hash") is not None) == (unlabelled, hashes), days


def test_pages_follow_each_other(parts: Parts) -> None:
    for minute, name in enumerate("abcde"):
        parts.store.add(make_task(name, created_at=NOW + timedelta(minutes=minute)))
    seen, cursor = [], None
    for _ in range(3):
        page = parts.synthesis.page(None, [], 2, cursor)
        seen.append([state.task_id for state in page.tasks])
        cursor = page.next_cursor
    assert (seen, cursor) == ([["e", "d"], ["c", "b"], ["a"]], None)
    assert parts.synthesis.page(None, [], 5, None).next_cursor is None, "not where nothing follows"
    assert parts.synthesis.page("alice", [], 5, None).tasks == []
    with pytest.raises(InvalidValue):
        parts.synthesis.page(None, [], 5, "nonsense")


def broken() -> int:
    raise sa.exc.OperationalError("SQL", {}, Exception("the connection was cut"))


def healthy(parts: Parts) -> tuple[str, str | None]:
    health = parts.synthesis.health()
    return health.status, health.detail


def test_health(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    slots = [MemorySlot("slot 1"), MemorySlot("slot 2")]
    parts = make_parts(settings, store, files, slots)
    parts.wait("a")
    health = parts.synthesis.health()
    assert (health.status, health.detail, health.engine, health.model_loaded) == ("healthy", None, "lite", False)
    assert (health.queue_length, health.queue_size, health.slots, health.slots_busy) == (1, 100, 2, 0)
    asyncio.run(slots[1].warm_up("lite"))
    slots[0].busy = True
    health = parts.synthesis.health()
    assert (health.model_loaded, health.slots_busy) == (True, 1)
    assert parts.synthesis.load().slots_busy == 1
    slots[0].broken = "the engine process exited with code 7"
    assert healthy(parts) == ("healthy", None), "one of them can render"
    slots[1].broken = "another reason"
    assert healthy(parts) == (
        "unhealthy",
        "No engine process can be started: the engine process exited with code 7",
    )


def test_what_keeps_the_service_from_taking_tasks(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.dispatcher.pool = MemorySlots(MemorySlot())
    parts.synthesis.refuse_when_not_ready()
    monkeypatch.setattr(
        parts.files, "problem", lambda: Problem("The server has too little room on its disk", ErrorCode.DISK_FULL)
    )
    assert healthy(parts) == ("unhealthy", "The server has too little room on its disk")
    with pytest.raises(Unavailable, match="The service is not ready") as refused:
        parts.synthesis.refuse_when_not_ready()
    assert refused.value.headers == {"Retry-After": "30"}
    monkeypatch.setattr(parts.store, "waiting", broken)
    assert healthy(parts) == ("unhealthy", "The database does not answer")
    monkeypatch.undo()
    parts.synthesis.stop()
    assert healthy(parts) == ("unhealthy", "The server is shutting down")


def test_slots_on_nodes(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    slots = [MemorySlot("slot 1"), MemorySlot("slot 2"), MemorySlot("slot 3")]
    for slot, node in zip(slots, ("b", "a", "b"), strict=True):
        slot.location = node
    slots[2].busy = True
    slots[1].device = "gpu"
    parts = make_parts(settings.model_copy(update={"render_on": "ray"}), store, files, slots)
    health = parts.synthesis.health()
    assert health.nodes == [NodeSlots(name="a", slots=1, slots_busy=0), NodeSlots(name="b", slots=2, slots_busy=1)]
    assert health.gpu_available
    assert parts.synthesis.load().nodes == {"a": [1, 0], "b": [2, 1]}


def test_without_slots_tasks_wait_and_health_says_why(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    parts = make_parts(settings, store, files)
    parts.dispatcher.pool = pool = MemorySlots()
    pool.problem = "No node offers a slot"
    assert healthy(parts) == ("healthy", "No node offers a slot"), "more may come"
    pool.reachable = False
    assert healthy(parts) == ("unhealthy", "No node offers a slot")
    parts.synthesis.refuse_when_not_ready()
    pool.slots = (MemorySlot(),)
    assert healthy(parts) == ("healthy", "No node offers a slot"), "what is there goes on"


def test_a_full_queue_is_not_ready_but_healthy(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    parts = make_parts(settings.model_copy(update={"queue_size": 1}), store, files, [MemorySlot()])
    parts.wait("a")
    assert healthy(parts) == ("healthy", None)
    with pytest.raises(QueueFull, match="Too many tasks are waiting"):
        parts.synthesis.refuse_when_not_ready()


def test_an_engine_that_is_missing_is_named(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    parts = make_parts(settings.model_copy(update={"engine": "diffusion"}), store, files, [MemorySlot()])
    status, detail = healthy(parts)
    assert (status, parts.synthesis.health().engine) == ("unhealthy", None)
    assert detail and detail.startswith("Engine 'diffusion' is not available on this server. Missing: ")


def test_stopping_twice_ends_the_grace(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(parts.dispatcher, "end_grace", lambda: calls.append("end_grace"))
    monkeypatch.setattr(parts.dispatcher, "start_draining", lambda: calls.append("drain"))
    parts.synthesis.stop()
    assert (calls, parts.admission.closed) == (["drain"], True)
    parts.synthesis.stop()
    assert calls == ["drain", "end_grace", "drain"]


def test_who_follows_a_task_is_told_its_changes(parts: Parts) -> None:
    parts.wait("a")

    async def scenario() -> list[Any]:
        feed = await parts.synthesis.feed("a", None)
        watching = asyncio.create_task(parts.synthesis.watch())
        events = []
        async with asyncio.timeout(20):
            async for event in feed.follow(None, lambda: True):
                events.append(event)
                if len(events) == 1:
                    await asyncio.to_thread(parts.finish, "a")
        watching.cancel()
        await asyncio.wait([watching])
        return events

    events = asyncio.run(scenario())
    kinds = [event.event for event in events]
    assert (kinds[0], kinds[-2:]) == ("state", ["state", "end"])
    assert '"status":"PENDING"' in events[0].raw_data
    assert '"status":"COMPLETED"' in events[-2].raw_data
    with pytest.raises(TaskNotFound):
        asyncio.run(parts.synthesis.feed("a", "alice"))


def test_watching_survives_a_failure(
    parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.service.synthesis.CHECK_EVERY_S", 0.001)
    monkeypatch.setattr(parts.store, "unfinished", lambda: 1 / 0)

    async def scenario() -> None:
        watching = asyncio.create_task(parts.synthesis.watch())
        async with asyncio.timeout(10):
            while "Tasks could not be looked at" not in caplog.text:
                await asyncio.sleep(0.005)
        monkeypatch.undo()
        parts.wait("a")
        parts.store.add_timing(Timing(Workload.of_render(make_render()), 3.0))
        async with asyncio.timeout(10):
            while (await parts.synthesis.status("a", None)).eta_seconds is None:
                await asyncio.sleep(0.005)
        assert not watching.done()
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(scenario())
    assert parts.synthesis.foresee(Workload.of_render(make_render())) is not None
    assert parts.synthesis.foresee(Workload("diffusion", 1, 1, 1)) is None
