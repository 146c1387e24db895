"""kill -9 of the whole service, with the real engine: nothing accepted is lost, and nobody is left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from api.clock import Clock
from api.settings import Settings
from dice_talk.video import probe
from tests.conftest import ROOT, Service
from tests.waiting import wait_for


@contextmanager
def server_process(folder: Path) -> Iterator[tuple[Service, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = Settings(port=port, data_dir=folder / "data", log_dir=folder / "logs")
    environment = {
        **os.environ,
        "DICE_TALK_PORT": str(port),
        "DICE_TALK_DATA_DIR": str(settings.data_dir),
        "DICE_TALK_LOG_DIR": str(settings.log_dir),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api.server"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/api/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(answers)
        yield Service(url, settings, None), process  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()


def engine_processes(folder: Path) -> list[str]:
    """Ids of the engine processes whose environment names the data folder in `folder`."""
    found = subprocess.run(["pgrep", "-f", "dice_talk.worker"], capture_output=True, text=True).stdout.split()
    return [pid for pid in found if _environment(pid).get("DICE_TALK_DATA_DIR") == str(folder / "data")]


def _environment(pid: str) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)


def test_killed_with_tasks_finished_running_and_waiting(tmp_path: Path, portrait: Path, speech: Path) -> None:
    begun = Clock()()
    with server_process(tmp_path) as (service, process):
        finished = service.submit(portrait, speech, seed=1)
        assert service.wait(finished)["status"] == "COMPLETED"
        tasks = [service.submit(portrait, speech, duration=None, min_resolution=768) for _ in range(2)]
        tasks += [service.submit(portrait, speech, duration=1) for _ in range(4)]
        for task in tasks[:2]:
            service.wait(task, "PROCESSING")
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not engine_processes(tmp_path), 10)
    with server_process(tmp_path) as (service, process):
        assert service.download(finished).status_code == 200
        assert service.submit(portrait, speech, seed=1) not in tasks, "the cache outlives it too"
        states = [service.wait(task, seconds=120) for task in tasks]
        assert [state["status"] for state in states] == ["COMPLETED"] * 6
        assert all(state["created_at"] >= begun.isoformat(timespec="seconds") for state in states)
        video = tmp_path / "result.mp4"
        video.write_bytes(service.download(tasks[0]).content)
        assert probe(video).frames == 198
        folders = {name.split("/")[1] for name in service.files() if name.startswith("tasks/")}
        assert folders == {finished, *tasks}
        assert not any(name.endswith(".part") for name in service.files())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
