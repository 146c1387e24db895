"""Demand, with a Ray that only notes what it is asked. tests/cluster asks a real autoscaler's state."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: ./start_server.sh install ray")

from dataclasses import replace

from api.rendering.cluster import demand as module
from api.rendering.cluster.demand import Demand
from tests.api.rendering.cluster.test_plan import PLAN


class NotedRay:
    """Tasks that wait until one is cancelled, or found done."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.made: list[dict[str, Any]] = []

    def remote(self, function: Any) -> Any:
        def submit() -> int:
            self.waiting.append(len(self.made))
            self.made.append(options)
            return self.waiting[-1]

        options: dict[str, Any] = {}
        return SimpleNamespace(options=lambda **given: options.update(given) or SimpleNamespace(remote=submit))

    def wait(self, tasks: list[int], **_: Any) -> tuple[list[int], list[int]]:
        return [], [task for task in tasks if task in self.waiting]

    def cancel(self, task: int, **_: Any) -> None:
        self.waiting.remove(task)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> NotedRay:
    noted = NotedRay()
    monkeypatch.setattr(module, "ray", noted)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    return noted


def test_as_many_tasks_wait_as_slots_are_lacking(noted: NotedRay) -> None:
    demand = Demand(PLAN)
    for lacking, waiting in ((0, 0), (3, 3), (3, 3), (1, 1), (-2, 0), (2, 2)):
        asyncio.run(demand.show(lacking))
        assert len(noted.waiting) == waiting
    assert noted.made[0] == {"num_cpus": 0, "num_gpus": 0, "resources": {"dice_talk_slot": 1}, "max_retries": 0}


def test_one_that_got_its_slot_is_replaced(noted: NotedRay) -> None:
    demand = Demand(PLAN)
    asyncio.run(demand.show(2))
    noted.waiting.pop()
    asyncio.run(demand.show(2))
    assert len(noted.waiting) == 2
    assert len(noted.made) == 3


def test_an_engine_for_gpus_wants_some_of_one(noted: NotedRay) -> None:
    asyncio.run(Demand(replace(PLAN, engine="diffusion")).show(1))
    assert 0 < noted.made[0]["num_gpus"] < 0.01


def test_a_short_lack_is_none(noted: NotedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    demand = Demand(PLAN)
    for lacking in (1, 1, 0, 1):
        asyncio.run(demand.show(lacking))
    assert noted.made == []
