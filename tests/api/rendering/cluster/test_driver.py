"""The driver's choices and its jobs, with an actor in this process. tests/cluster has whole ones."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("ray", reason="Ray is not installed: ./start_server.sh install ray")

from api.rendering.cluster import driver as module
from api.rendering.cluster.driver import Driver, chosen
from api.rendering.cluster.nodes import ClusterNode
from api.rendering.cluster.seat import Seat
from tests.api.rendering.cluster.local import Handle, actor_of, message, plan_of
from tests.api.rendering.house import until
from tests.conftest import ROOT

NODE = ClusterNode("a" * 56, "node-1", 1)
SLOT = f"{'a' * 16}-0-1/1"


def names(*nodes: ClusterNode, most: int = 10, engine: str = "lite") -> list[str]:
    return [f"{share.node.name} {share.number}" for share in chosen(list(nodes), engine, most).values()]


def test_every_share_has_an_actor_up_to_the_most_that_are_wanted() -> None:
    first, second = ClusterNode("a" * 56, "a", 2), ClusterNode("b" * 56, "b", 1)
    assert names(second, first) == ["a 0", "a 1", "b 0"]
    assert names(first, second, most=2) == ["a 0", "a 1"]
    assert names(first, second, most=1, engine="diffusion") == ["b 0"], "an actor is not divided"
    kept = chosen([second], "lite", 10)
    assert [share.node.name for share in chosen([first, second], "lite", 1, kept).values()] == ["b"], "it stays"
    assert names(first, ClusterNode("c" * 56, "c", 1, draining=True)) == ["a 0", "a 1"]


class Served:
    """A driver with its input, and what it said."""

    def __init__(self, driver: Driver, commands: asyncio.StreamReader, said: list[Mapping[str, Any]]) -> None:
        self.driver, self.commands, self.said = driver, commands, said

    def tell(self, text: str) -> None:
        self.commands.feed_data(text.encode() + b"\n")

    def events(self, job: int) -> list[str]:
        return [one["event"] for one in self.said if one["job"] == job and one["event"] != "alive"]

    @property
    def cluster(self) -> Mapping[str, Any]:
        return [one for one in self.said if one["event"] == "cluster"][-1]

    async def has(self, count: int) -> None:
        await until(lambda: self.events(0) and [slot["loaded"] for slot in self.cluster["slots"]] == [["lite"]] * count)


def run(
    kind: str,
    gate: Path,
    scenario: Callable[[Served, Handle], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[ClusterNode],
    **changes: Any,
) -> None:
    async def whole() -> None:
        plan = plan_of(kind, gate, **changes)
        async with actor_of(plan) as actor:
            handle, said, commands = Handle(actor), list[Mapping[str, Any]](), asyncio.StreamReader()
            monkeypatch.setattr(Seat, "_find", lambda seat: handle)
            monkeypatch.setattr(Seat, "_kill", lambda seat: None)
            monkeypatch.setattr(module, "list_nodes", lambda: list(nodes))
            monkeypatch.setattr(module, "end_strangers", lambda plan: None)
            monkeypatch.setattr(module, "NODES_EVERY_S", 0.05)
            driver = Driver(plan, said.append)
            running = asyncio.create_task(driver.run(commands))
            with anyio.fail_after(60):
                await scenario(Served(driver, commands, said), handle)
                commands.feed_eof()
                await running
                if nodes:
                    assert await actor.attach("another server", "x"), "it was left"

    asyncio.run(whole())


def job(folder: Path, number: int = 1) -> str:
    import json

    paths = {name: str(folder / name) for name in ("output", "state")}
    paths |= {"image": str(ROOT / "examples" / "portrait.jpg"), "audio": str(ROOT / "examples" / "speech.wav")}
    return json.dumps({"job": number, "slot": SLOT, "engine": "lite", "render": {**message(), **paths}})


def test_a_job_writes_its_video_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(served: Served, handle: Handle) -> None:
        await served.has(1)
        served.tell(job(tmp_path))
        await until(lambda: "done" in served.events(1))
        assert (tmp_path / "output").read_bytes()[4:8] == b"ftyp"
        assert "files" not in served.said[-1]

    run("quick", tmp_path, scenario, monkeypatch, [NODE])


def test_a_job_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(served: Served, handle: Handle) -> None:
        await served.has(1)
        served.tell(job(tmp_path))
        await until(lambda: "progress" in served.events(1))
        served.tell('{"job": 1, "cancel": true}')
        await until(lambda: served.events(1)[-1] == "cancelled")
        assert not (tmp_path / "output").exists()

    run("gated", tmp_path / "gate", scenario, monkeypatch, [NODE])


def test_a_job_for_a_slot_that_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(served: Served, handle: Handle) -> None:
        served.tell(job(tmp_path))
        await until(lambda: served.events(1) == ["lost"])
        await until(lambda: served.events(0))
        assert served.cluster["problem"].startswith("No node of the Ray cluster at 10.0.0.5:6379 offers dice_talk_slot")

    run("quick", tmp_path, scenario, monkeypatch, [])


def test_a_node_that_goes_takes_its_jobs_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [NODE]

    async def scenario(served: Served, handle: Handle) -> None:
        await served.has(1)
        served.tell(job(tmp_path))
        await until(lambda: "progress" in served.events(1))
        nodes.clear()
        await until(lambda: served.events(1)[-1] == "lost")
        assert served.said[-1]["reason"] == "node-1: the node is gone"
        await served.has(0)

    run("gated", tmp_path / "gate", scenario, monkeypatch, nodes)


def test_a_node_that_is_drained_ends_its_job_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, ended = [NODE], list[str]()

    async def scenario(served: Served, handle: Handle) -> None:
        monkeypatch.setattr(Seat, "end", lambda seat: _note(ended))
        await served.has(1)
        served.tell(job(tmp_path))
        await until(lambda: "progress" in served.events(1))
        nodes[0] = ClusterNode(NODE.id, NODE.name, 1, draining=True)
        await served.has(0)
        assert ended == []
        (tmp_path / "gate").touch()
        await until(lambda: served.events(1)[-1] == "done")
        await until(lambda: ended)
        nodes.clear()

    run("gated", tmp_path / "gate", scenario, monkeypatch, nodes)


async def _note(ended: list[str]) -> None:
    ended.append("ended")


def test_the_state_is_kept_as_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.rendering.cluster import actor as actor_module

    monkeypatch.setattr(actor_module, "STATE_CHECK_S", 0.05)

    async def scenario(served: Served, handle: Handle) -> None:
        await served.has(1)
        served.tell(job(tmp_path))
        await until(lambda: "progress" in served.events(1))
        folder = handle.actor._scratch.folder / "1"
        (folder / "state").write_bytes(b"half way")
        await until(lambda: (tmp_path / "state").exists())
        assert (tmp_path / "state").read_bytes() == b"half way"
        (folder / "state").write_bytes(b"nearly there")
        served.tell('{"job": 1, "cancel": true}')
        await until(lambda: served.events(1)[-1] == "cancelled")
        assert (tmp_path / "state").read_bytes() == b"nearly there"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "state"]

    run("gated", tmp_path / "gate", scenario, monkeypatch, [NODE])


def test_slots_that_are_idle_end_and_come_back_for_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def scenario(served: Served, handle: Handle) -> None:
        monkeypatch.setattr(Seat, "end", lambda seat: _note(ended))
        await until(lambda: served.events(0) and served.cluster["problem"] == "Slots are started when tasks wait")
        served.tell('{"demand": 1}')
        await served.has(1)
        served.tell(job(tmp_path))
        await until(lambda: "progress" in served.events(1))
        served.tell('{"demand": 0}')
        await asyncio.sleep(0.5)
        assert ended == [], "it renders"
        (tmp_path / "gate").touch()
        await until(lambda: served.events(1)[-1] == "done")
        await until(lambda: ended)
        await served.has(0)
        nodes.clear()

    nodes = [NODE]
    run("gated", tmp_path / "gate", scenario, monkeypatch, nodes, idle_seconds=0.2)


def test_a_head_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.3)

    async def scenario(served: Served, handle: Handle) -> None:
        await served.has(1)
        stuck = asyncio.Event()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(
            module, "list_nodes", lambda: asyncio.run_coroutine_threadsafe(_wait(stuck), loop).result() or [NODE]
        )
        await until(lambda: served.cluster["problem"])
        assert served.cluster["problem"] == "The head of the Ray cluster at 10.0.0.5:6379 does not answer"
        assert len(served.cluster["slots"]) == 1, "what is there goes on"
        stuck.set()
        await until(lambda: not served.cluster["problem"])

    run("quick", tmp_path, scenario, monkeypatch, [NODE])


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
