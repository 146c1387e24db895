"""From a fresh clone to a healthy server and a first video: python -m benchmarks.first_start [--python PATH] [--cold].

Runs ./start_server.sh as a newcomer would and prints the seconds and the size of .venv. CI runs it with each Python.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.serving import PATIENCE_S, ROOT, free_port, wait_until


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="the Python to use (PYTHON of start_server.sh)")
    parser.add_argument("--cold", action="store_true", help="download everything: no pip or uv cache")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "dice talk"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        start = time.monotonic()
        server, url = started(clone, given.python, given.cold)
        try:
            wait_until(server, url, "model_loaded", True)
            healthy = time.monotonic() - start
            submit(clone, url)
            video = time.monotonic() - start
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        print(f"{python_of(clone)}: healthy after {healthy:.1f} s, video after {video:.1f} s, {size(clone)} MB")


def started(clone: Path, python: str | None, cold: bool) -> "tuple[subprocess.Popen[bytes], str]":
    """Start the server. Return its process and address."""
    port = free_port()
    environment = {name: text for name, text in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {"DICE_TALK_PORT": str(port)} | ({"PYTHON": python} if python else {})
    if cold:
        environment |= {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
    command = ["./start_server.sh"]
    return subprocess.Popen(command, cwd=clone, env=environment, stdout=sys.stderr), f"http://localhost:{port}"


def submit(clone: Path, url: str) -> None:
    """Run the README's example with the installed command."""
    inputs = ["examples/portrait.jpg", "examples/speech.wav", "-e", "happy", "-o", "first.mp4"]
    subprocess.run(
        [".venv/bin/dice-talk", "submit", "--server", url, *inputs], cwd=clone, check=True, timeout=PATIENCE_S
    )
    probe = "from dice_talk.video import probe; import pathlib; print(probe(pathlib.Path('first.mp4')).frames)"
    frames = subprocess.run([".venv/bin/python", "-c", probe], cwd=clone, check=True, capture_output=True, text=True)
    if frames.stdout != "198\n":
        sys.exit(f"the video has {frames.stdout.strip()} frames, not 198")


def python_of(clone: Path) -> str:
    """Return the version of the Python that runs it."""
    return subprocess.run(
        [".venv/bin/python", "-V"], cwd=clone, check=True, capture_output=True, text=True
    ).stdout.strip()


def size(clone: Path) -> int:
    """Return the size of .venv in MB, as `du -sm` counts them."""
    return int(
        subprocess.run(["du", "-sm", clone / ".venv"], check=True, capture_output=True, text=True).stdout.split()[0]
    )


if __name__ == "__main__":
    main()
