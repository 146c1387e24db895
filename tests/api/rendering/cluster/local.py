"""Actors without Ray: they live in the test's own process, and their objects in its memory."""

import asyncio
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.rendering.cluster.actor import SlotActor
from api.rendering.cluster.plan import Plan, identities
from dice_talk.engine import RenderJob
from dice_talk.options import RenderOptions
from dice_talk.worker import Message, encode_job
from tests.api.rendering.cluster.test_plan import PLAN
from tests.conftest import ROOT

NEVER_S = 1e9


class Object:
    """A reference as `ray.put` gives it."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from asyncio.sleep(0).__await__()
        return self.value


class Method:
    """A method of an actor, to be called as Ray's are."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> Any:
        return asyncio.ensure_future(self._method(*arguments))


class Handle:
    """An actor as its callers see it. `frozen`: whether it does not answer."""

    def __init__(self, actor: SlotActor) -> None:
        self.actor, self.frozen = actor, False

    def __getattr__(self, name: str) -> Method:
        return Method(_never if self.frozen else getattr(self.actor, name))


async def _never(*arguments: Any) -> None:
    await asyncio.Event().wait()


def plan_of(kind: str, gate: Path, **changes: Any) -> Plan:
    """A plan whose engine is one of `fake_worker`'s."""
    command = ["-m", "tests.fake_worker", kind, str(gate)]
    facts: dict[str, Any] = {
        "identities": identities(ROOT / "checkpoints"),
        "checkpoints": str(ROOT / "checkpoints"),
        "commands": {"lite": command},
        "lease_seconds": NEVER_S,
    }
    return replace(PLAN, **{**facts, **changes})


@asynccontextmanager
async def actor_of(plan: Plan, places: int = 1) -> AsyncIterator[SlotActor]:
    actor = SlotActor(plan, places, "node-1")
    try:
        yield actor
    finally:
        if actor._warming:
            actor._warming.cancel()
        await actor._engines.close()
        actor._scratch.remove()


def message(**options: Any) -> Message:
    """A job as the server sends it."""
    chosen = RenderOptions(**{"emotion": "sad", "seed": 1, "duration": 0.5, **options})
    render: Message = encode_job(1, RenderJob(Path("i"), Path("a"), Path("o"), chosen, Path("s")))["render"]
    return render


def inputs() -> dict[str, Any]:
    examples = ROOT / "examples"
    return {
        "image": [Object((examples / "portrait.jpg").read_bytes())],
        "audio": [Object((examples / "speech.wav").read_bytes())],
    }


PYTHON = sys.executable
