"""`dice-talk node` starts Ray's own program."""

import os
from typing import Any

import pytest

from dice_talk.__main__ import main
from dice_talk.cli import node as module
from dice_talk.cli.node import ray_start


def test_the_command_is_rays_own() -> None:
    command = ray_start("10.0.0.5:6379", 3, ("--node-ip-address=10.0.0.7",))
    assert command[1:] == [
        "-m",
        "ray.scripts.scripts",
        "start",
        "--address=10.0.0.5:6379",
        "--block",
        '--resources={"dice_talk_slot": 3}',
        "--node-ip-address=10.0.0.7",
    ]
    assert "--resources={}" in ray_start("10.0.0.5:6379", 0)


@pytest.mark.parametrize("address", ["10.0.0.5", "http://10.0.0.5:6379", "10.0.0.5:x", "-h:1; ls"])
def test_an_address_that_is_none(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", f"--address={address}"]) == 2
    assert "is not HOST:PORT, as 10.0.0.5:6379 is" in capsys.readouterr().err


def test_without_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert main(["node", "--address=10.0.0.5:6379"]) == 3
    assert capsys.readouterr().err == "ray is not installed. Run: ./start_server.sh install ray\n"


def test_it_becomes_that_command(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr(os, "execv", lambda program, command: became.append(command))
    main(["node", "--address", "10.0.0.5:6379", "--slots", "1", "--node-name=gpu-1"])
    assert became == [ray_start("10.0.0.5:6379", 1, ("--node-name=gpu-1",))]
