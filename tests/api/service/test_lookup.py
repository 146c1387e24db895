"""Finding tasks: from the cache, from the store, and for their owner only."""

import asyncio
import time

import pytest
import sqlalchemy as sa

from api.errors import TaskNotFound
from api.service.lookup import TaskLookup, visible
from api.tasks.cache import TaskSnapshot
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore
from tests.api.made import NOW, make_render, make_task


def test_a_task_is_read_once_and_then_remembered(store: TaskStore) -> None:
    store.add(make_task(render=make_render()))
    lookup = TaskLookup(store)
    assert store.cached_snapshot("a") is None
    first = asyncio.run(lookup.snapshot("a"))
    assert first and first.task.id == "a"
    assert store.cached_snapshot("a") == first
    store.close()  # which a second reader would not notice
    assert asyncio.run(lookup.snapshot("a")) == first


def test_a_task_that_is_not_there(store: TaskStore) -> None:
    assert asyncio.run(TaskLookup(store).snapshot("a")) is None
    with pytest.raises(TaskNotFound):
        asyncio.run(TaskLookup(store).find("a", None))


@pytest.mark.parametrize(("owner", "asking"), [(None, "alice"), ("alice", None), ("alice", "bob"), ("alice", "Alice")])
def test_nobody_else_sees_a_task(store: TaskStore, owner: str | None, asking: str | None) -> None:
    store.add(make_task(owner=owner))
    lookup = TaskLookup(store)
    assert asyncio.run(lookup.find("a", owner)).owner == owner
    with pytest.raises(TaskNotFound):
        asyncio.run(lookup.find("a", asking))


def test_a_cancelled_task_is_seen_as_its_client_sees_it() -> None:
    seen = visible(TaskSnapshot(make_task(cancelled_at=NOW), 3), None)
    assert seen.task.render.status is TaskStatus.FAILED
    assert seen.ahead == 3


def test_what_is_asked_for_meanwhile_is_read_at_once(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never from what was read before it was asked for."""
    for name in "abc":
        store.add(make_task(name))
    monkeypatch.setattr(store, "cached_snapshot", lambda task_id: None)
    lookup, read, reads = TaskLookup(store), store.snapshots, list[list[str]]()

    def slow(ids: list[str]) -> dict[str, TaskSnapshot]:
        found = read(ids)
        reads.append(sorted(ids))
        if len(reads) == 1:
            store.update("a", TaskStatus.PROCESSING, progress=0.5)
            time.sleep(0.2)
        return found

    monkeypatch.setattr(store, "snapshots", slow)

    async def scenario() -> None:
        first = asyncio.create_task(lookup.snapshot("a"))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(lookup.snapshot("c"))
        await asyncio.sleep(0)
        gone.cancel()
        late, other, none = await asyncio.gather(*map(lookup.snapshot, ("a", "b", "unknown")))
        before = await first
        assert before and before.task.render.progress == 0
        assert late and late.task.render.progress == 0.5
        assert other and other.task.id == "b"
        assert none is None
        assert gone.cancelled()

    asyncio.run(scenario())
    assert reads == [["a"], ["a", "b", "c", "unknown"]]


def test_a_database_that_fails_fails_for_all_who_asked(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ids: list[str]) -> dict[str, TaskSnapshot]:
        raise sa.exc.OperationalError("SQL", {}, Exception("the connection was cut"))

    lookup = TaskLookup(store)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(store, "snapshots", fail)
            answers = await asyncio.gather(*map(lookup.snapshot, "aab"), return_exceptions=True)
            assert [type(answer) for answer in answers] == [sa.exc.OperationalError] * 3
        assert await lookup.snapshot("a") is None, "the next one is asked again"

    asyncio.run(scenario())
