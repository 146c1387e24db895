"""A server dispatches while it leads, and only then."""

import asyncio
from collections.abc import Callable

import pytest

from api.rendering import leading as module
from api.rendering.leading import lead
from api.settings import Settings
from api.storage.local import LocalFiles
from api.tasks.leadership import Superseded
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore
from benchmarks.postgres import Postgres
from tests.api.rendering.house import House, until
from tests.api.rendering.memory import MemorySlot


@pytest.fixture
def houses(settings: Settings, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> list[House]:
    """Two servers' parts, on one database and one folder."""
    monkeypatch.setattr(module, "CAMPAIGN_S", 0.05)
    url = postgres_server.create_database()
    return [House(TaskStore(url), LocalFiles(settings)) for _ in range(2)]


def run(houses: list[House], scenario: Callable[[], object]) -> None:
    try:
        asyncio.run(scenario())  # type: ignore[arg-type]
    finally:
        for house in houses:
            house.store.close()


def test_without_others_it_begins_at_once(house: House) -> None:
    slot = MemorySlot()

    async def scenario() -> None:
        house.accept("a")
        dispatcher = house.dispatcher(slot)
        await lead(dispatcher, None, "lite")
        await until(lambda: house.ended(dispatcher))
        await dispatcher.stop(0)

    asyncio.run(scenario())
    assert slot.rendered == ["a"]


@pytest.fixture
def house(store: TaskStore, files: LocalFiles) -> House:
    return House(store, files)


def test_the_next_one_takes_up_what_ran(houses: list[House], postgres_server: Postgres) -> None:
    slots = [MemorySlot(gated=True), MemorySlot()]

    async def scenario() -> None:
        houses[0].accept("a", "b")
        dispatchers = [house.dispatcher(slot) for house, slot in zip(houses, slots, strict=True)]
        first = asyncio.create_task(lead(dispatchers[0], houses[0].store.leadership, "lite"))
        await until(lambda: slots[0].busy)
        second = asyncio.create_task(lead(dispatchers[1], houses[1].store.leadership, "lite"))
        await asyncio.sleep(0.3)
        assert not dispatchers[1].leading
        assert slots[1].rendered == []
        term = houses[0].store.leadership.term  # type: ignore[union-attr]
        postgres_server.cut_connections()
        await asyncio.sleep(0.5)
        if houses[0].store.leadership.term == term and dispatchers[0].leading:  # type: ignore[union-attr]
            first.cancel()  # it was first again, and goes on; now its process ends
            await asyncio.wait([first])
        await until(lambda: houses[1].ended(dispatchers[1]))
        first.cancel()
        await dispatchers[1].stop(0)
        await asyncio.wait([first, second])
        await dispatchers[0].resign()

    run(houses, scenario)
    assert slots[1].rendered == ["a", "b"]
    assert slots[0].cancelled == ["a"]


def test_who_resigns_says_nothing_more(houses: list[House]) -> None:
    slot = MemorySlot(gated=True)

    async def scenario() -> None:
        (house, other) = houses
        house.accept("a")
        dispatcher = house.dispatcher(slot)
        leading = asyncio.create_task(lead(dispatcher, house.store.leadership, "lite"))
        await until(lambda: slot.busy)
        with other.store._db.begin() as db:
            db.exec_driver_sql("UPDATE dispatching SET term = term + 1")  # as another server does
        slot.open.set()
        await until(lambda: not dispatcher.is_held("a"))
        assert other.state("a")[0] == "PROCESSING", "it is the other one's"
        with pytest.raises(Superseded):
            house.store.update("a", TaskStatus.PENDING)
        leading.cancel()
        await asyncio.wait([leading])
        await dispatcher.resign()
        assert not dispatcher.leading

    run(houses, scenario)
