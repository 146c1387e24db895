"""Finding tasks: from the cache, from the store, and for their owner only."""

import asyncio

import pytest

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
