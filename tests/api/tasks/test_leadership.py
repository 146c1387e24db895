"""One of several servers leads. What another one says of renders changes nothing."""

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from api.tasks import leadership as module
from api.tasks.leadership import NOBODY, Leadership, SlotReport, Superseded
from api.tasks.model import TaskStatus
from api.tasks.store import StoreFailure, TaskStore
from benchmarks.postgres import Postgres
from tests.api.made import make_task
from tests.waiting import wait_for

REPORT = SlotReport(2, 1, ["lite"])


@pytest.fixture
def stores(postgres_url: str) -> Iterator[tuple[TaskStore, TaskStore]]:
    stores = TaskStore(postgres_url), TaskStore(postgres_url)
    yield stores
    for store in stores:
        store.close()


def led(store: TaskStore) -> Leadership:
    assert store.leadership
    return store.leadership


def test_one_leads_until_it_ends(stores: tuple[TaskStore, TaskStore]) -> None:
    one, other = stores
    assert other.slot_report() == NOBODY
    assert [led(one).campaign(REPORT) for _ in range(3)] == [1] * 3
    assert led(other).campaign(NOBODY) is None
    assert other.slot_report() == REPORT
    led(one).release()
    assert wait_for(lambda: led(other).campaign(SlotReport(7, 7)), 20) == 2
    assert led(one).campaign(REPORT) is None
    assert one.slot_report() == SlotReport(7, 7)


def test_many_at_once_agree(postgres_url: str) -> None:
    stores = [TaskStore(postgres_url) for _ in range(6)]
    terms: list[int | None] = []
    threads = [threading.Thread(target=lambda s=store: terms.append(led(s).campaign(REPORT))) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(terms, key=str) == [1] + [None] * 5
    for store in stores:
        store.close()


def test_a_cut_connection_ends_no_term_that_nobody_ends(
    stores: tuple[TaskStore, TaskStore], postgres_server: Postgres
) -> None:
    one, other = stores
    assert led(one).campaign(REPORT) == 1
    postgres_server.cut_connections()
    with pytest.raises(StoreFailure):
        led(one).campaign(REPORT)
    assert led(one).campaign(REPORT) == 1, "the same: what runs goes on"
    postgres_server.cut_connections()
    assert wait_for(lambda: led(other).campaign(REPORT), 20) == 2
    with pytest.raises(StoreFailure):
        led(one).campaign(REPORT)
    assert led(one).campaign(REPORT) is None


def test_a_server_that_hangs_loses_the_lead(
    stores: tuple[TaskStore, TaskStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 1)
    one, other = stores
    assert led(one).campaign(REPORT) == 1
    assert wait_for(lambda: led(other).campaign(REPORT), 20) == 2
    with pytest.raises(StoreFailure):
        led(one).campaign(REPORT)
    assert led(one).campaign(REPORT) is None


def test_what_is_said_after_a_term_changes_nothing(stores: tuple[TaskStore, TaskStore]) -> None:
    one, other = stores
    one.add(make_task("a"))
    assert led(one).campaign(REPORT)
    assert one.update("a", TaskStatus.PROCESSING, progress=0.5)
    led(one).release()
    assert one.update("a", TaskStatus.PROCESSING, progress=0.6), "nobody else leads yet"
    wait_for(lambda: led(other).campaign(REPORT), 20)
    for status in (TaskStatus.PROCESSING, TaskStatus.COMPLETED):
        with pytest.raises(Superseded):
            one.update("a", status, progress=0.9)
    render = other.render("a")
    assert render and (render.status, render.progress) == (TaskStatus.PROCESSING, 0.6)
    assert other.update("a", TaskStatus.PENDING)


def test_a_new_term_waits_for_what_is_being_written_in_the_old_one(stores: tuple[TaskStore, TaskStore]) -> None:
    one, other = stores
    term = led(one).campaign(REPORT)
    assert term
    begun = threading.Event()
    with one._db.begin() as db:
        module.refuse_when_superseded(db, term)
        led(one).release()

        def take_over() -> None:
            wait_for(lambda: led(other).campaign(REPORT), 20)
            begun.set()

        thread = threading.Thread(target=take_over)
        thread.start()
        assert not begun.wait(0.5)
    thread.join(20)
    assert begun.is_set()


def test_an_old_report_does_not_count(stores: tuple[TaskStore, TaskStore]) -> None:
    one, other = stores
    led(one).campaign(REPORT)
    with one._db.begin() as db:
        db.execute(sa.text("UPDATE slot_reports SET said_at = said_at - interval '16 seconds'"))
    assert other.slot_report() == NOBODY
