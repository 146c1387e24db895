"""The driver's process, played by shells that say what they are told to."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from api.rendering.cluster import driver_process as module
from api.rendering.cluster.driver_process import DriverProcess, outcome
from api.rendering.slots import EngineLost, Loss, NodeLost, NoRoom, RenderRefused
from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.error_codes import ErrorCode
from dice_talk.options import RenderOptions
from tests.api.rendering.cluster.test_plan import PLAN
from tests.api.rendering.house import until

JOB = RenderJob(
    Path("image"),
    Path("audio"),
    Path("output"),
    RenderOptions(emotion="sad", seed=1),
    Path("state"),
)
SLOT = {"name": "n-0-1/1", "seat": "n-0-1", "location": "n", "device": "cpu", "loaded": ["lite"], "broken": None}
RESULT = {"width": 256, "height": 256, "fps": 24, "frames": 24, "seconds": 1.0, "versions": {}}
HEAR = "read -r line"
ALIVE = """echo '{"job": 0, "event": "alive"}'"""
STAY = "cat > /dev/null"


def say(event: str, job: int, **rest: Any) -> str:
    return f"echo '{json.dumps({'job': job, 'event': event, **rest})}'"


CLUSTER = say("cluster", 0, slots=[SLOT], reachable=True, problem=None)


@dataclass
class Heard:
    """What the driver said of the cluster, and what a render said of its progress."""

    slots: list[list[str]] = field(default_factory=list)
    problems: list[str | None] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    def cluster(
        self, driver: DriverProcess, slots: list[Mapping[str, Any]], reachable: bool, problem: str | None
    ) -> None:
        self.slots.append([slot["name"] for slot in slots])
        self.problems.append(problem)

    async def told(self, progress: Progress) -> None:
        self.progress.append(progress)


def run(*script: str, scenario: Callable[[DriverProcess, Heard], Awaitable[None]]) -> Heard:
    """Run a driver that follows a script: each line of it is one of a shell's."""
    heard = Heard()

    async def whole() -> None:
        driver = DriverProcess(["sh", "-c", "\n".join([HEAR, *script])], PLAN, heard.cluster)
        await driver.start()
        try:
            with anyio.fail_after(20):
                await scenario(driver, heard)
        finally:
            await driver.close()

    asyncio.run(whole())
    return heard


def rendering(*script: str) -> tuple[RenderResult, list[Progress]]:
    results = []

    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: heard.slots[-1])
        results.append(await driver.render("n-0-1/1", "lite", JOB, heard.told))

    heard = run(ALIVE, CLUSTER, *script, STAY, scenario=scenario)
    return results[0], heard.progress


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.05)


def test_the_plan_comes_first() -> None:
    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: heard.problems[-1] == "10.0.0.5:6379")

    script = ["case $line in *10.0.0.5:6379*) said=10.0.0.5:6379;; esac", ALIVE]
    words = (
        r"""echo "{\"job\": 0, \"event\": \"cluster\", \"slots\": [], \"reachable\": true, \"problem\": \"$said\"}" """
    )
    run(*script, words, STAY, scenario=scenario)


def test_a_job_with_progress() -> None:
    progress = {"stage": "render", "message": "Generating video...", "fraction": 0.5, "step": 1, "steps": 2}
    result, told = rendering(HEAR, say("progress", 1, **progress), say("done", 1, **RESULT))
    assert result == RenderResult(**RESULT)  # type: ignore[arg-type]
    assert told == [Progress(**progress)]  # type: ignore[arg-type]


def test_what_is_sent_is_the_job_and_its_slot() -> None:
    """The script sends it back as the reason of a loss."""
    wanted = """*'"slot": "n-0-1/1", "engine": "lite", "job": 1, "render": {"image": "image"'*"""
    answer = r"""echo "{\"job\": 1, \"event\": \"lost\", \"reason\": \"$ok\"}" """
    with pytest.raises(NodeLost, match=r"^yes$"):
        rendering(HEAR, f"case $line in {wanted}) ok=yes;; esac", answer)


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        ({"event": "engine_lost", "reason": "it broke", "loss": "MEMORY"}, EngineLost, "it broke"),
        ({"event": "lost", "reason": "n: it does not answer"}, NodeLost, "n: it does not answer"),
        ({"event": "no_room"}, NoRoom, "disk is full"),
        (
            {"event": "failed", "error": "No face", "detail": None, "code": "no_face", "params": {}},
            RenderRefused,
            "No face",
        ),
        ({"event": "cancelled"}, NodeLost, "the connection to the Ray cluster was lost"),
        (None, NodeLost, "the connection to the Ray cluster was lost"),
    ],
)
def test_every_other_end(event: dict[str, Any] | None, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        outcome(event)
    if isinstance(raised.value, EngineLost):
        assert raised.value.loss is Loss.MEMORY
    if isinstance(raised.value, RenderRefused):
        assert raised.value.code is ErrorCode.NO_FACE


def test_a_driver_that_ends_is_started_again_and_its_renders_are_lost(tmp_path: Path) -> None:
    lost = []

    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: heard.slots[-1])
        try:
            await driver.render("n-0-1/1", "lite", JOB, heard.told)
        except NodeLost as error:
            lost.append(str(error))
        await until(lambda: heard.slots[-1] == ["n-0-1/1"])

    first = f"if mkdir {tmp_path}/first; then {HEAR}; exit 1; fi"
    heard = run(ALIVE, CLUSTER, first, STAY, scenario=scenario)
    assert lost == ["the connection to the Ray cluster was lost"]
    assert heard.slots == [[], ["n-0-1/1"], [], ["n-0-1/1"]]
    assert heard.problems == ["The Ray cluster at 10.0.0.5:6379 is being joined", None, "The driver has ended", None]


def test_why_it_cannot_join_is_kept_until_it_can() -> None:
    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: len(heard.problems) == 5)

    heard = run(say("cluster", 0, slots=[], reachable=False, problem="There is no head"), "exit 1", scenario=scenario)
    assert set(heard.problems[1:]) == {"There is no head"}


def test_a_driver_that_says_nothing_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.2)

    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: "The driver says nothing" in heard.problems)
        await until(lambda: heard.slots[-1])

    run(ALIVE, CLUSTER, STAY, scenario=scenario)


def test_a_cancelled_job_is_stopped_before_its_files_are_let_go() -> None:
    order = []

    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: heard.slots[-1])
        render = asyncio.create_task(driver.render("n-0-1/1", "lite", JOB, heard.told))
        await until(lambda: heard.progress)
        render.cancel()
        with pytest.raises(asyncio.CancelledError):
            await render
        order.append("ended")
        await until(lambda: heard.problems[-1] == "stopped")

    progress = say("progress", 1, stage="render", message="", fraction=0.1, step=0, steps=0)
    stopped = say("cluster", 0, slots=[SLOT], reachable=True, problem="stopped")
    cancel = """case $line in *'"cancel": true'*) ;; *) exit 1;; esac"""
    heard = run(
        ALIVE, CLUSTER, HEAR, progress, HEAR, cancel, progress, stopped, say("cancelled", 1), STAY, scenario=scenario
    )
    assert order == ["ended"]
    assert heard.problems[-1] == "stopped"


def test_demand_is_told_when_it_changes() -> None:
    async def scenario(driver: DriverProcess, heard: Heard) -> None:
        await until(lambda: heard.slots[-1])
        for demand in (0, 3, 3, 5):
            driver.want(demand)
        await until(lambda: heard.problems[-1] == "3 5")

    both = r"""case "$line $line2" in *'"demand": 3'*'"demand": 5'*) said="3 5";; esac"""
    words = (
        r"""echo "{\"job\": 0, \"event\": \"cluster\", \"slots\": [], \"reachable\": true, \"problem\": \"$said\"}" """
    )
    run(ALIVE, CLUSTER, HEAR, "read -r line2", both, words, STAY, scenario=scenario)


def test_a_driver_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()

    async def whole() -> None:
        driver = DriverProcess(["/nonexistent"], PLAN, heard.cluster)
        await driver.start()
        await until(lambda: len(heard.problems) > 1)
        with pytest.raises(NodeLost):
            await driver.render("n-0-1/1", "lite", JOB, heard.told)
        await driver.close()

    asyncio.run(whole())
    assert heard.problems[1] == "The process could not be started: No such file or directory"
