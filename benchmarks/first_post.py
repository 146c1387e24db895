"""How long the first POST of an upload takes, against another checkout. Run: python benchmarks/first_post.py FOLDER.

Both servers run at once, each in its own folder and with its own environment (`.venv`), and are asked in turn, so that
what else the machine does meets both. Each pair of files is a new one, so no look is remembered.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

HERE = Path(__file__).parent.parent
POSTS = 60
PAUSE_S = 0.5
"""After each upload, for its render: what is asked is how soon an idle server answers."""


@contextmanager
def server(root: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DICE_TALK_PORT": str(port), "DICE_TALK_DATA_DIR": folder, "DICE_TALK_LOG_DIR": folder}
        command = [str(root / ".venv/bin/python"), "-m", "api.server"]
        with subprocess.Popen(
            command, cwd=root, env={**os.environ, **settings, "DICE_TALK_QUEUE_SIZE": "1000"}, stderr=subprocess.DEVNULL
        ) as process:
            try:
                began = time.perf_counter()
                url = f"http://127.0.0.1:{port}"
                wait_until(f"{url}/api/health", "status", "healthy")
                print(f"{root}: healthy after {time.perf_counter() - began:.2f} s", end=", ")
                wait_until(f"{url}/api/health", "model_loaded", True)
                print(f"models loaded after {time.perf_counter() - began:.2f} s")
                yield url
            finally:
                process.terminate()


def wait_until(url: str, name: str, value: object) -> None:
    for _ in range(1200):
        try:
            if requests.get(url, timeout=5).json()[name] == value:
                return
        except requests.RequestException:
            pass
        time.sleep(0.05)
    sys.exit("the server did not start")


def post(url: str, number: int) -> float:
    """Milliseconds."""
    image = (HERE / "examples/portrait.jpg").read_bytes() + b"%d" % number
    files = {"image": image, "audio": (HERE / "examples/speech.wav").read_bytes()}
    start = time.perf_counter()
    answer = requests.post(
        f"{url}/api/v1/synthesis/start", files=files, data={"emotion": "happy", "duration": 0.1}, timeout=120
    )
    answer.raise_for_status()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    roots = [Path(sys.argv[1]), HERE]
    with ExitStack() as stack:
        urls = [stack.enter_context(server(root)) for root in roots]
        times: list[list[float]] = [[], []]
        for number in range(POSTS):
            for url, taken in zip(urls, times, strict=True):
                taken.append(post(url, number))
                time.sleep(PAUSE_S)
    for root, taken in zip(roots, times, strict=True):
        p95 = sorted(taken)[int(0.95 * POSTS)]
        print(f"{root}: median {statistics.median(taken):.0f} ms, p95 {p95:.0f} ms, least {min(taken):.0f} ms")
    ratios = [before / after for before, after in zip(*times, strict=True)]
    print(f"times as quick: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
