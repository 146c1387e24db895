"""`dice-talk node` starts Ray's own program."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dice_talk.__main__ import main
from dice_talk.cli import node as module
from dice_talk.cli.node import ray_start
from tests.conftest import ROOT
from tests.waiting import wait_for


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


def test_what_runs_is_that_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr(module, "keep_running", ran.append)
    assert main(["node", "--address", "10.0.0.5:6379", "--slots", "1", "--node-name=gpu-1"]) == 0
    assert ran == [ray_start("10.0.0.5:6379", 1, ("--node-name=gpu-1",))]


RUN = """
import sys
from dice_talk.cli import node
node.PAUSE_S, node.QUIET_S, node.LOOK_EVERY_S = 0.05, 0.5, 0.02
sys.exit(node.keep_running(["sh", "-c", sys.argv[1]]))
"""
READY = "trap 'exit 0' TERM; echo up $DICE_TALK_NODE; while :; do sleep 0.05; done"


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Run a command as the node runs Ray's."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", RUN, script]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_ray_is_started_again_when_it_ends(keeping: Any) -> None:
    process = keeping("echo once; exit 3")
    assert [first_line(process) for _ in range(2)] == ["once", "once"]
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM


def test_a_signal_lets_renders_end(keeping: Any, tmp_path: Path) -> None:
    process = keeping(READY)
    own = Path(first_line(process).removeprefix("up "))
    job = own.parent / f"{own.name}-actor" / "1"
    job.mkdir(parents=True)
    process.terminate()
    wait_for((own / "draining").exists)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    job.rmdir()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not own.exists()


def test_a_second_signal_does_not(keeping: Any) -> None:
    process = keeping(READY)
    own = Path(first_line(process).removeprefix("up "))
    (own.parent / f"{own.name}-actor" / "1").mkdir(parents=True)
    process.terminate()
    wait_for((own / "draining").exists)
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
