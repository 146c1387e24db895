"""An actor, called as a seat calls it, with real engine processes."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("ray", reason="Ray is not installed: ./start_server.sh install ray")

from api.rendering.cluster import actor as module
from api.rendering.cluster.actor import SlotActor
from dice_talk.node import default_base
from tests.api.rendering.cluster.local import actor_of, inputs, message, plan_of
from tests.conftest import ROOT
from tests.waiting import wait_for

Scenario = Callable[[SlotActor], Awaitable[None]]


def run(plan: Any, scenario: Scenario, places: int = 1) -> None:
    async def whole() -> None:
        async with actor_of(plan, places) as actor:
            with anyio.fail_after(60):
                await scenario(actor)

    asyncio.run(whole())


async def news_until(actor: SlotActor, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    seen = 0
    while True:
        news = await actor.news("t", seen)
        assert news
        if condition(news):
            return news
        seen = news["version"]


def folders() -> list[Path]:
    """What lies in the folders of jobs."""
    return [path for path in default_base().glob("*/*") if path.is_dir()]


def test_a_job_from_its_inputs_to_its_video(tmp_path: Path) -> None:
    async def scenario(actor: SlotActor) -> None:
        assert await actor.attach("server", "t")
        assert (await news_until(actor, lambda news: bool(news["loaded"])))["loaded"] == ["lite"]
        outcome = await actor.render("t", 1, 1, "lite", message(), inputs())
        assert (outcome["event"], outcome["frames"]) == ("done", 12)
        (part,) = outcome["files"]["output"]
        assert b"ftyp" in part.value[:16]
        assert folders() == []

    run(plan_of("quick", tmp_path), scenario)


def test_progress_is_news(tmp_path: Path) -> None:
    async def scenario(actor: SlotActor) -> None:
        await actor.attach("server", "t")
        render = asyncio.create_task(actor.render("t", 1, 1, "lite", message(), inputs()))
        news = await news_until(actor, lambda news: 1 in news["progress"])
        assert news["progress"][1]["message"] == "Generating video..."
        (tmp_path / "gate").touch()
        assert (await render)["event"] == "done"

    run(plan_of("gated", tmp_path / "gate"), scenario)


def test_a_cancelled_job(tmp_path: Path) -> None:
    async def scenario(actor: SlotActor) -> None:
        await actor.attach("server", "t")
        render = asyncio.create_task(actor.render("t", 1, 1, "lite", message(), inputs()))
        await news_until(actor, lambda news: 1 in news["progress"])
        await actor.cancel("old", 1)
        await actor.cancel("t", 1)
        assert (await render)["event"] == "cancelled"
        assert folders() == []

    run(plan_of("gated", tmp_path / "gate"), scenario)


@pytest.mark.parametrize(
    ("kind", "event", "words"),
    [
        ("exits", "engine_lost", "exited with code 1"),
        ("killed", "engine_lost", "SIGKILL"),
        ("refuses", "failed", "No face was found"),
        ("full", "lost", "its disk is full"),
    ],
)
def test_other_ends(tmp_path: Path, kind: str, event: str, words: str) -> None:
    async def scenario(actor: SlotActor) -> None:
        await actor.attach("server", "t")
        outcome = await actor.render("t", 1, 1, "lite", message(), inputs())
        assert outcome["event"] == event
        assert words in str(outcome)
        assert "output" not in outcome["files"]

    run(plan_of(kind, tmp_path), scenario)


def test_only_one_server_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(actor: SlotActor) -> None:
        assert await actor.attach("first", "t")
        render = asyncio.create_task(actor.render("t", 1, 1, "lite", message(), inputs()))
        await news_until(actor, lambda news: 1 in news["progress"])
        assert not await actor.attach("second", "u"), "the first holds it"
        await actor.detach("u")
        monkeypatch.setattr(module, "HELD_S", 0.0)
        assert await actor.attach("second", "u"), "the first has said nothing for long"
        assert (await render)["event"] == "cancelled", "nobody waits for it any more"
        assert await actor.news("t", 0) is None
        assert (await actor.render("t", 2, 1, "lite", message(), inputs()))["event"] == "lost"

    run(plan_of("gated", tmp_path / "gate"), scenario)


def test_the_same_server_takes_it_back_at_once(tmp_path: Path) -> None:
    async def scenario(actor: SlotActor) -> None:
        assert await actor.attach("first", "t")
        assert await actor.attach("first", "u")
        assert await actor.news("t", 0) is None
        await actor.detach("u")
        assert await actor.attach("second", "v")

    run(plan_of("quick", tmp_path), scenario)


def test_a_server_that_renders_otherwise_gets_the_slot_of_one_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(SlotActor, "_exit", lambda actor: ended.append("ended"))

    async def scenario(actor: SlotActor) -> None:
        await actor.end_if_free()
        await actor.attach("server", "t")
        await actor.end_if_free()
        assert ended == [], "it was just made, then held"
        await actor.detach("t")
        await actor.end_if_free()
        assert ended == ["ended"]

    run(plan_of("quick", tmp_path), scenario)


def test_an_engine_that_does_not_start_is_told(tmp_path: Path) -> None:
    async def scenario(actor: SlotActor) -> None:
        await actor.attach("server", "t")
        news = await news_until(actor, lambda news: bool(news["broken"]))
        assert (news["broken"], news["loaded"]) == ("the engine process exited with code 7", [])

    run(plan_of("unloadable", tmp_path), scenario)


def test_another_release_or_other_weights_render_nothing(tmp_path: Path) -> None:
    async def scenario(actor: SlotActor) -> None:
        await actor.attach("server", "t")
        news = await news_until(actor, lambda news: bool(news["broken"]))
        assert news["broken"].startswith("the lite engine of node-1 is another one than the server's: lite revision")
        assert (await actor.render("t", 1, 1, "lite", message(), inputs()))["event"] == "engine_lost"

    run(plan_of("quick", tmp_path, identities={"lite": "lite revision 0"}), scenario)


def test_a_full_disk_takes_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_FREE", 1 << 60)

    async def scenario(actor: SlotActor) -> None:
        await actor.attach("server", "t")
        assert (await news_until(actor, lambda news: bool(news["broken"])))["broken"] == "the disk of node-1 is full"

    run(plan_of("quick", tmp_path), scenario)


def test_a_node_may_keep_its_weights_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(actor: SlotActor) -> None:
        assert actor._command("lite")[1:] == ["-m", "worker", "/mine"]

    monkeypatch.setenv(module.CHECKPOINTS, "/mine")
    run(plan_of("quick", tmp_path, checkpoints="/theirs", commands={"lite": ["-m", "worker", "/theirs"]}), scenario)


FORGOTTEN = """
import sys
from pathlib import Path
from dataclasses import replace
from tests.api.rendering.cluster.local import plan_of
from api.rendering.cluster.actor import SlotActor
actor = SlotActor(plan_of("quick", Path("/nonexistent"), lease_seconds=0.2), 1, "node-1")
print("there", flush=True)
sys.stdin.read()
"""


def test_an_actor_that_no_server_speaks_to_ends() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORGOTTEN],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"TMPDIR": str(default_base().parent), "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == b"there\n"
        wait_for(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert [path for path in default_base().iterdir() if path.is_dir()] == []
