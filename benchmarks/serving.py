"""Servers for benchmarks, of this checkout or of another one, each in a folder of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Running:
    """A server whose engine is loaded."""

    url: str
    process: "subprocess.Popen[bytes]"
    healthy_s: float  # from its start
    loaded_s: float

    def health(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.url}/api/health", timeout=60).json())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(root: Path = ROOT, **settings: object) -> Iterator[Running]:
    """Run a server of a checkout with its own `.venv`, or with this Python if it has none. `settings`: by name."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"port": port, "data_dir": folder, "log_dir": folder, **settings}
        variables = {f"DICE_TALK_{name.upper()}": str(value) for name, value in settings.items()}
        own = root / ".venv/bin/python"
        command = [own if own.exists() else sys.executable, "-m", "api.server"]
        environment = {**os.environ, **variables, "PYTHONPATH": str(root.resolve())}
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(process, url, "status", "healthy")
            healthy = time.perf_counter() - began
            wait_until(process, url, "model_loaded", True)
            yield Running(url, process, healthy, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait()


def wait_until(process: "subprocess.Popen[bytes]", url: str, name: str, value: object) -> None:
    """Wait until a server's health says so."""
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if requests.get(f"{url}/api/health", timeout=60).json()[name] == value:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    sys.exit(f"the server at {url} did not start")


def submit(url: str, image: bytes | None = None, **options: object) -> str:
    """Start a task on the example's files. Returns its id."""
    image = image or (EXAMPLES / "portrait.jpg").read_bytes()
    files = {"image": image, "audio": (EXAMPLES / "speech.wav").read_bytes()}
    answer = requests.post(
        f"{url}/api/v1/synthesis/start", files=files, data={"emotion": "happy", **options}, timeout=120
    )
    answer.raise_for_status()
    return str(answer.json()["task_id"])


def wait_for_video(url: str, task: str) -> None:
    while requests.get(f"{url}/api/v1/synthesis/{task}/status", timeout=60).json()["status"] != "COMPLETED":
        time.sleep(0.05)
