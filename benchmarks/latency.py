"""How quickly the API answers: idle, and while two renders are in work. Run: python benchmarks/latency.py.

Starts a server of its own on a free port. Prints milliseconds and the ratio of busy to idle.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

EXAMPLES = Path(__file__).parent.parent / "examples"
ASKED = 300


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DICE_TALK_PORT": str(port), "DICE_TALK_DATA_DIR": folder, "DICE_TALK_LOG_DIR": folder}
        server = subprocess.Popen(
            [sys.executable, "-m", "api.server"], env={**os.environ, **settings}, stderr=subprocess.DEVNULL
        )
        try:
            measure(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait()


def measure(url: str) -> None:
    wait_until_loaded(url)
    with requests.Session() as session:
        task = submit(session, url, duration=0.1)
        while session.get(f"{url}/api/v1/synthesis/{task}/status").json()["status"] != "COMPLETED":
            time.sleep(0.1)
        idle = times(session, url, task)
        for _ in range(2):
            submit(session, url, min_resolution=1024, fps=60)
        while session.get(f"{url}/api/health").json()["slots_busy"] < 2:
            time.sleep(0.05)
        busy = times(session, url, task)
        still_busy = session.get(f"{url}/api/health").json()["slots_busy"]
    print(f"status, {ASKED} requests, milliseconds; slots busy at the end: {still_busy}")
    for name, values in (("idle", idle), ("two renders", busy)):
        print(f"{name:12} median {statistics.median(values):6.2f}   p99 {sorted(values)[int(0.99 * ASKED)]:6.2f}")
    print(f"ratio of the medians {statistics.median(busy) / statistics.median(idle):.2f}")


def wait_until_loaded(url: str) -> None:
    for _ in range(600):
        try:
            if requests.get(f"{url}/api/health", timeout=5).json()["model_loaded"]:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    sys.exit("the server did not start")


def submit(session: requests.Session, url: str, **options: float) -> str:
    files = {"image": (EXAMPLES / "portrait.jpg").read_bytes(), "audio": (EXAMPLES / "speech.wav").read_bytes()}
    answer = session.post(f"{url}/api/v1/synthesis/start", files=files, data={"emotion": "happy", **options})
    answer.raise_for_status()
    return str(answer.json()["task_id"])


def times(session: requests.Session, url: str, task: str) -> list[float]:
    values = []
    for _ in range(ASKED):
        start = time.perf_counter()
        session.get(f"{url}/api/v1/synthesis/{task}/status").raise_for_status()
        values.append((time.perf_counter() - start) * 1000)
        time.sleep(0.01)
    return values


if __name__ == "__main__":
    main()
