"""What the server tells its driver."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.rendering.cluster.plan import Plan, identities, identity
from dice_talk import __version__
from dice_talk.engines import spec_of

PLAN = Plan(
    address="10.0.0.5:6379",
    server="s1",
    engine="lite",
    identities={"lite": "lite revision 1"},
    commands={"lite": ["-m", "dice_talk.worker", "lite", "/checkpoints"]},
    checkpoints="/checkpoints",
    load_seconds=600,
    stall_seconds=120,
    lease_seconds=60,
    max_slots=8,
    idle_seconds=0,
)


def test_a_plan_survives_json() -> None:
    assert Plan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN


def test_the_next_start_of_a_server_finds_its_actors() -> None:
    assert replace(PLAN, server="s2", address="auto", max_slots=1).namespace == PLAN.namespace
    assert __version__ in PLAN.namespace


@pytest.mark.parametrize(
    "change",
    [
        {"identities": {"lite": "lite revision 2"}},
        {"commands": {"lite": ["-m", "dice_talk.worker", "lite", "/checkpoints", "--compile"]}},
        {"stall_seconds": 60},
    ],
)
def test_a_server_that_renders_otherwise_does_not(change: dict[str, Any]) -> None:
    assert replace(PLAN, **change).namespace != PLAN.namespace


def test_engines_are_known_by_their_weights_but_not_by_when_they_were_copied(tmp_path: Path) -> None:
    weights = tmp_path / "DICE-Talk" / "unet.pth"
    weights.parent.mkdir()
    weights.write_bytes(b"12")
    before = identity("diffusion", tmp_path)
    assert f"revision {spec_of('diffusion').revision} of {__version__}" in before
    weights.touch()
    assert identity("diffusion", tmp_path) == before
    weights.write_bytes(b"123")
    assert identity("diffusion", tmp_path) != before


def test_only_engines_that_are_complete_are_known(tmp_path: Path) -> None:
    assert "lite" in identities(tmp_path)
    assert "diffusion" not in identities(tmp_path)
