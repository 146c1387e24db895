"""A newcomer's way: a clean copy, ./start_server.sh, the documented calls, a video. Installs for real: slow."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.serving import free_port
from dice_talk.video import probe
from tests.conftest import ROOT
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


def healthy(url: str) -> Any:
    try:
        health = requests.get(f"{url}/api/health", timeout=60).json()
    except requests.ConnectionError:
        return None
    return health if health["model_loaded"] else None


@pytest.fixture(scope="module")
def clean_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it would be cloned: nothing that was installed, rendered or logged."""
    folder = tmp_path_factory.mktemp("clone") / "dice talk"  # a blank in the path must not matter
    ignored = shutil.ignore_patterns(".git", ".venv", "data", "*.log", "__pycache__", "*.egg-info", ".*_cache", "out")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def started(clean_copy: Path) -> Iterator[tuple[str, Path, subprocess.Popen[bytes]]]:
    """URL, folder and process of a server that start_server.sh installed and started."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment["DICE_TALK_PORT"] = str(port)
    with (clean_copy / "console.log").open("wb") as console:
        server = subprocess.Popen(
            ["./start_server.sh"], cwd=clean_copy, env=environment, stdout=console, stderr=subprocess.STDOUT
        )
    url = f"http://localhost:{port}"
    try:
        wait_for(lambda: healthy(url) or server.poll() is not None, 600)
        assert server.poll() is None, (clean_copy / "console.log").read_text()
        yield url, clean_copy, server
    finally:
        server.kill()
        server.wait()


def test_the_console_says_where_and_what_next(started: tuple[str, Path, Any]) -> None:
    url, folder, _ = started
    console = (folder / "console.log").read_text()
    assert f"port {url.split(':')[-1]}; engine: lite" in console
    assert f"{url}/docs" in console
    assert "curl -X POST" in console
    assert "Traceback" not in console
    assert "engine: lite" in (folder / "logs" / "api.log").read_text()


def test_the_suggested_curl_line_works_as_printed(started: tuple[str, Path, Any]) -> None:
    url, folder, _ = started
    if not shutil.which("curl"):
        pytest.skip("this machine has no curl")
    line = next(line for line in (folder / "console.log").read_text().splitlines() if "curl -X POST" in line)
    command = ["curl", "-sS", *line.split("curl ")[1].split()]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    task = re.search(r'"task_id":"([0-9a-f-]{36})"', answer)
    assert task, answer
    state = wait_for(
        lambda: (
            state
            if (state := requests.get(f"{url}/api/v1/synthesis/{task[1]}/status", timeout=60).json())["status"]
            in ("COMPLETED", "FAILED")
            else None
        ),
        120,
    )
    assert state["status"] == "COMPLETED", state
    subprocess.run(
        ["curl", "-sS", "-o", "result.mp4", f"{url}/api/v1/synthesis/{task[1]}/download"], cwd=folder, check=True
    )
    info = probe(folder / "result.mp4")
    assert (info.width, info.height, float(info.fps), info.frames) == (256, 256, 24, 198)
    assert '"engine": "lite"' in info.metadata["comment"]


def test_the_example_client_works_with_what_the_server_installed(started: tuple[str, Path, Any]) -> None:
    url, folder, _ = started
    command = [".venv/bin/python", "examples/client.py", "examples/portrait.jpg", "examples/speech.wav", "surprised"]
    environment = {**os.environ, "DICE_TALK_SERVER": url}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("Saved result.mp4\n"), done.stdout + done.stderr
    info = probe(folder / "result.mp4")
    assert info.width == info.height == 256
    assert '"emotion": "surprised"' in info.metadata["comment"]


def test_the_command_is_there(started: tuple[str, Path, Any]) -> None:
    url, folder, _ = started
    command = [".venv/bin/dice-talk", "submit", "--server", url, "examples/portrait.jpg", "examples/speech.wav"]
    done = subprocess.run([*command, "-e", "sad", "-o", "sad.mp4"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "sad.mp4\n", "")
    assert '"emotion": "sad"' in probe(folder / "sad.mp4").metadata["comment"]


def test_health_and_help_words(started: tuple[str, Path, Any]) -> None:
    url, folder, _ = started
    environment = {**os.environ, "DICE_TALK_PORT": url.split(":")[-1]}
    health = subprocess.run(
        ["./start_server.sh", "health"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert (health.returncode, '"status": "healthy"' in health.stdout) == (0, True)
    usage = subprocess.run(["./start_server.sh", "help"], cwd=folder, capture_output=True, text=True)
    assert (usage.returncode, "start | install | health | help" in usage.stdout) == (0, True)
    assert subprocess.run(["./start_server.sh", "dance"], cwd=folder, capture_output=True).returncode == 2


def test_a_busy_port_gives_one_clear_line(started: tuple[str, Path, Any]) -> None:
    url, folder, _ = started
    environment = {**os.environ, "DICE_TALK_PORT": url.split(":")[-1]}
    second = subprocess.run(["./start_server.sh"], cwd=folder, env=environment, capture_output=True, text=True)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "cannot listen on 127.0.0.1 port" in second.stderr
    assert "DICE_TALK_PORT" in second.stderr


def test_sigterm_ends_it_cleanly_and_the_second_start_installs_nothing(started: tuple[str, Path, Any]) -> None:
    url, folder, server = started
    server.send_signal(signal.SIGTERM)
    assert server.wait(100) == 0
    leftovers = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()
    assert leftovers == []
    environment = {**os.environ, "DICE_TALK_PORT": url.split(":")[-1]}
    said = folder / "console2.log"
    with said.open("wb") as console:
        again = subprocess.Popen(["./start_server.sh"], cwd=folder, env=environment, stdout=console, stderr=console)
    try:
        wait_for(lambda: healthy(url))
        assert "Installing" not in said.read_text(), "all is there since the first start"
        again.send_signal(signal.SIGHUP)
        assert again.wait(100) == 0
    finally:
        again.kill()
        again.wait()
