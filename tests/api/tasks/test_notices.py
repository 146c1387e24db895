"""What one server writes, the others hear of."""

import threading
from collections.abc import Iterator
from queue import Queue

import pytest

from api.tasks.model import TaskStatus
from api.tasks.notices import Change
from api.tasks.store import TaskStore
from benchmarks.postgres import Postgres
from tests.api.made import NOW, make_task
from tests.waiting import wait_for

Heard = Queue[Change | None]


@pytest.fixture
def stores(postgres_url: str) -> Iterator[tuple[TaskStore, TaskStore, Heard]]:
    """Two stores on one database, and what the second one hears."""
    one, other, heard = TaskStore(postgres_url), TaskStore(postgres_url), Heard()
    other.listen(heard.put)
    assert heard.get(timeout=20) is None, "at first, anything may have happened"
    yield one, other, heard
    one.close()
    other.close()


def test_every_change_is_heard_of(stores: tuple[TaskStore, TaskStore, Heard]) -> None:
    one, _, heard = stores
    number = one.add(make_task("a")).number
    one.update("a", TaskStatus.PROCESSING)
    one.cancel(make_task("a"), NOW)
    one.remove(make_task("a"), NOW)
    one.purge(NOW, ["a"])
    assert [heard.get(timeout=20) for _ in range(5)] == [
        Change("a", "PENDING", number),
        Change("a", "PROCESSING"),
        Change("a", "FAILED", task_id="a", unwanted=True),
        Change("a", "FAILED", task_id="a", removed=True),
        None,
    ]


def test_nobody_hears_of_what_they_wrote_themselves(stores: tuple[TaskStore, TaskStore, Heard]) -> None:
    one, other, heard = stores
    other.add(make_task("a"))
    one.add(make_task("b"))
    change = heard.get(timeout=20)
    assert change and change.render_id == "b"


def test_a_burst_is_heard_of_as_a_whole(stores: tuple[TaskStore, TaskStore, Heard]) -> None:
    one, _, heard = stores
    for number in range(200):
        one.add(make_task(str(number)))
    found = [heard.get(timeout=20) for _ in range(200)]
    assert [change and change.render_id for change in found] == [str(number) for number in range(200)]


def test_statuses_are_right_on_every_server(stores: tuple[TaskStore, TaskStore, Heard]) -> None:
    one, other, heard = stores
    one.add(make_task("a"))
    heard.get(timeout=20)
    wait_for(lambda: other.snapshot("a") and other.recent_snapshot("a"), 20)
    assert other.cached_snapshot("a") is None, "it may change elsewhere at any time"
    for progress in (0.1, 0.2, 0.3):
        one.update("a", TaskStatus.PROCESSING, progress=progress)
        standing = other.snapshot("a")
        assert standing and standing.task.render.progress == progress
        heard.get(timeout=20)
        assert other.recent_snapshot("a") in (None, standing)
    one.update("a", TaskStatus.COMPLETED, finished_at=NOW)
    heard.get(timeout=20)
    assert other.recent_snapshot("a") is None
    standing = wait_for(lambda: other.snapshot("a") and other.cached_snapshot("a"), 20)
    assert standing == other.snapshot("a")
    one.remove(make_task("a"), NOW)
    wait_for(lambda: other.cached_snapshot("a") is None, 20)


def test_nothing_counts_as_known_while_nothing_can_be_heard(
    stores: tuple[TaskStore, TaskStore, Heard], postgres_server: Postgres
) -> None:
    one, other, heard = stores
    one.add(make_task("a"))
    one.update("a", TaskStatus.FAILED)
    heard.get(timeout=20), heard.get(timeout=20)
    standing = wait_for(lambda: other.snapshot("a") and other.cached_snapshot("a"), 20)
    assert standing == other.snapshot("a")
    postgres_server.cut_connections()
    assert heard.get(timeout=20) is None, "what was told meanwhile is lost"
    assert other.cached_snapshot("a") is None
    one.add(make_task("b"))
    change = heard.get(timeout=20)
    assert change and change.render_id == "b"


def test_a_store_that_does_not_listen_knows_nothing(postgres_url: str) -> None:
    store = TaskStore(postgres_url)
    store.add(make_task("a"))
    store.update("a", TaskStatus.FAILED)
    assert store.snapshot("a")
    assert store.cached_snapshot("a") is None
    store.close()


def test_there_is_nothing_to_hear_with_sqlite(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = TaskStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db")
    before = threading.active_count()
    store.listen(lambda change: None)
    assert threading.active_count() == before
    assert store.leadership is None
    store.close()
