"""The pool of slots on a cluster, whose driver is played by a shell."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from api.rendering.cluster.slots import RaySlot, RaySlots
from api.rendering.slots import EngineLost, SlotJob
from api.settings import Settings
from dice_talk.engine import Progress
from dice_talk.labels import UNNAMED
from dice_talk.options import RenderOptions
from tests.api.made import staged
from tests.api.rendering.cluster.test_driver_process import ALIVE, HEAR, RESULT, SLOT, STAY, say
from tests.api.rendering.house import until
from tests.api.storage.memory import MemoryFiles


def cluster(*slots: dict[str, Any], problem: str | None = None, reachable: bool = True) -> str:
    return say("cluster", 0, slots=slots, reachable=reachable, problem=problem)


def run(settings: Settings, *script: str, scenario: Callable[[RaySlots], Awaitable[None]]) -> int:
    """Run a pool. Returns how often it said that slots have come or gone."""
    changes: list[None] = []

    async def whole() -> None:
        pool = RaySlots(
            settings, lambda engine: ["python", "-m", engine], driver=["sh", "-c", "\n".join([HEAR, *script])]
        )
        await pool.start("lite", lambda: 7, lambda: changes.append(None))
        try:
            with anyio.fail_after(20):
                await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(whole())
    return len(changes)


def test_slots_come_and_go(settings: Settings) -> None:
    other = {**SLOT, "name": "m-0-1/1", "seat": "m-0-1", "location": "m", "device": "gpu"}

    async def scenario(pool: RaySlots) -> None:
        assert (list(pool.slots), pool.reachable) == ([], False)
        assert pool.problem == "The Ray cluster at auto is being joined"
        await until(lambda: len(pool.slots) == 2)
        first, second = pool.slots
        assert (first.location, first.device, first.engine, first.busy) == ("n", "cpu", "lite", False)
        assert (second.location, second.device, second.ready("lite")) == ("m", "gpu", True)
        await until(lambda: len(pool.slots) == 1)
        assert pool.slots == [second], "it stays the same object"
        assert (pool.reachable, pool.problem) == (True, "n is gone")

    wait = "sleep 0.3"
    assert (
        run(settings, ALIVE, cluster(SLOT, other), wait, cluster(other, problem="n is gone"), STAY, scenario=scenario)
        >= 3
    )


def test_demand_goes_to_the_driver(settings: Settings) -> None:
    async def scenario(pool: RaySlots) -> None:
        await until(lambda: pool.problem == "7")

    heard = r"""case $line in *'"demand": 7'*) said=7;; esac"""
    answer = (
        r"""echo "{\"job\": 0, \"event\": \"cluster\", \"slots\": [], \"reachable\": true, \"problem\": \"$said\"}" """
    )
    run(settings, ALIVE, HEAR, heard, answer, STAY, scenario=scenario)


def test_the_plan_names_engines_and_weights(settings: Settings) -> None:
    pool = RaySlots(
        settings.model_copy(update={"checkpoints_dir": Path("weights")}), lambda engine: ["py", engine, "weights"]
    )
    plan = pool._plan("lite")
    assert plan.commands["lite"] == ["lite", str(Path("weights").absolute())]
    assert plan.checkpoints == str(Path("weights").absolute())
    assert plan.identities.keys() == plan.commands.keys()
    assert pool._plan("lite").server != plan.server
    assert pool._plan("lite").namespace == plan.namespace


def test_a_render_goes_to_its_slot(settings: Settings, tmp_path: Path) -> None:
    files = MemoryFiles(tmp_path)
    told: list[Progress] = []

    async def note(progress: Progress) -> None:
        told.append(progress)

    async def scenario(pool: RaySlots) -> None:
        await until(lambda: pool.slots)
        (slot,) = pool.slots
        with staged(files) as upload:
            files.accept(upload, "r")
        job = SlotJob("lite", RenderOptions(emotion="sad", seed=1), UNNAMED, files, files.begin("r"))
        assert (await slot.render(job, note)).frames == 24
        assert not slot.busy

    progress = say("progress", 1, stage="render", message="", fraction=0.5, step=0, steps=0)
    run(
        settings,
        ALIVE,
        cluster(SLOT),
        "while ! case $line in *render*) ;; *) false;; esac; do read -r line; done",
        progress,
        say("done", 1, **RESULT),
        STAY,
        scenario=scenario,
    )
    assert [one.fraction for one in told] == [0.5]


def slot_of(**facts: Any) -> RaySlot:
    from api.rendering.local import SharedExclusiveLock

    return RaySlot({**SLOT, **facts}, None, SharedExclusiveLock())  # type: ignore[arg-type]


def test_a_slot_is_warm_when_its_actor_says_so() -> None:
    async def scenario() -> None:
        slot = slot_of(loaded=[])
        assert not slot.ready("lite")
        warming = asyncio.create_task(slot.warm_up("lite"))
        await asyncio.sleep(0.01)
        assert not warming.done()
        slot.update({**SLOT, "loaded": ["lite"]})
        await warming
        assert slot.ready("lite")

    asyncio.run(scenario())


def test_why_an_engine_does_not_start() -> None:
    async def scenario() -> None:
        slot = slot_of(loaded=[], broken="the engine process exited with code 7")
        assert slot.broken == "the engine process exited with code 7"
        with pytest.raises(EngineLost, match="exited with code 7"):
            await slot.warm_up("lite")

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "shared"), [("lite", False), ("diffusion", True)])
def test_a_second_attempt_is_alone_where_a_process_is_shared(engine: str, shared: bool) -> None:
    async def scenario() -> None:
        slot = slot_of()
        async with slot.reserve(engine, alone=True):
            waiting = asyncio.create_task(slot.reserve(engine, alone=False).__aenter__())
            await asyncio.sleep(0.01)
            assert waiting.done() is not shared
            waiting.cancel()

    asyncio.run(scenario())
