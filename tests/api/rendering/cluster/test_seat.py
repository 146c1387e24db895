"""A seat with an actor in this process. tests/cluster has real ones, which are killed and frozen."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("ray", reason="Ray is not installed: ./start_server.sh install ray")

from ray.exceptions import RayError

from api.rendering.cluster import seat as module
from api.rendering.cluster.nodes import ClusterNode, Share
from api.rendering.cluster.seat import Seat, SeatLost
from tests.api.rendering.cluster.local import Handle, actor_of, inputs, message, plan_of
from tests.api.rendering.house import until

SHARE = Share(ClusterNode("a" * 56, "node-1", 2), 0, 2, 0.0)


def run(kind: str, gate: Path, scenario: Callable[[Seat, Handle], Awaitable[None]]) -> list[tuple[int, Any]]:
    told: list[tuple[int, Any]] = []

    async def whole() -> None:
        plan = plan_of(kind, gate)
        async with actor_of(plan, SHARE.places) as actor:
            handle = Handle(actor)
            seat = Seat(
                SHARE, plan, lambda number, progress, _: told.append((number, progress)), lambda: None, lambda: 0.0
            )
            seat._find = lambda: handle  # type: ignore[method-assign]
            seat._kill = lambda: None  # type: ignore[method-assign]
            keeping = asyncio.create_task(seat.keep())
            with anyio.fail_after(60):
                await until(lambda: seat.loaded)
                await scenario(seat, handle)
            keeping.cancel()

    asyncio.run(whole())
    return told


def test_its_places_are_slots(tmp_path: Path) -> None:
    async def scenario(seat: Seat, handle: Handle) -> None:
        first, second = seat.slots
        assert (first["name"], second["name"]) == (f"{'a' * 16}-0-2/1", f"{'a' * 16}-0-2/2")
        assert (first["location"], first["device"], first["loaded"], first["broken"]) == (
            "node-1",
            "cpu",
            ["lite"],
            None,
        )

    run("quick", tmp_path, scenario)


def test_jobs_with_progress(tmp_path: Path) -> None:
    async def scenario(seat: Seat, handle: Handle) -> None:
        seat.jobs |= {1, 2}
        ends = [await seat.render(number, number, "lite", message(), inputs()) for number in (1, 2)]
        assert [end["event"] for end in ends] == ["done", "done"]

    told = run("quick", tmp_path, scenario)
    assert {number for number, _ in told} <= {1, 2}


def test_an_actor_that_does_not_answer_is_lost_with_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 2.5)

    async def scenario(seat: Seat, handle: Handle) -> None:
        render = asyncio.create_task(seat.render(1, 1, "lite", message(), inputs()))
        await asyncio.sleep(0.1)
        handle.frozen = True
        with pytest.raises(SeatLost, match="node-1: it does not answer"):
            await render
        assert not seat.held
        with pytest.raises(SeatLost, match="node-1: it does not answer"):
            await seat.render(2, 1, "lite", message(), inputs())

    run("gated", tmp_path / "gate", scenario)


def test_an_actor_that_another_server_takes_is_lost(tmp_path: Path) -> None:
    async def scenario(seat: Seat, handle: Handle) -> None:
        await handle.actor.attach(seat._plan.server, "another connection")
        await until(lambda: not seat.held)
        assert seat.problem == "another server has taken it over"
        await until(lambda: seat.held)

    run("quick", tmp_path, scenario)


def test_an_error_of_rays_loses_the_seat_before_the_render_ends(tmp_path: Path) -> None:
    """Else the render would come back to the same slot at once, again and again."""

    async def scenario(seat: Seat, handle: Handle) -> None:
        async def fails() -> None:
            raise RayError("the worker died")

        with pytest.raises(SeatLost, match="node-1: RayError"):
            await seat.until_lost(fails)
        assert not seat.held

    run("quick", tmp_path, scenario)


def test_a_seat_that_is_left_can_be_taken(tmp_path: Path) -> None:
    async def scenario(seat: Seat, handle: Handle) -> None:
        await seat.leave()
        assert await handle.actor.attach("another server", "t")

    run("quick", tmp_path, scenario)
