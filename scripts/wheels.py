"""Asks the package index whether each package of the locks has a wheel: python scripts/wheels.py.

One row for each Python and platform; exit code 1 when a wheel is missing. A lock that is not meant for a platform, as
torch is not for Intel's Macs, is said to have none there. Where pocketsphinx has no wheel for a Python, the locks leave
it out and dice_talk/lite/sphinx.py fetches that of another one, so this wheel is asked for as well.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from dice_talk.lite import sphinx

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
    "macOS x86-64": "x86_64-apple-darwin",
}
LOCKS = ("api", "c2pa", "dev", "diffusion", "objects", "postgres", "ray")
FETCHED = f"pocketsphinx=={sphinx.RELEASE}"
ABSENT = {
    ("macOS x86-64", "diffusion"): "torch",
    ("macOS x86-64", "c2pa"): "cryptography",
    ("macOS x86-64", "ray"): "ray",
}
"""Packages that no longer publish wheels for a platform."""


def main() -> None:
    """Entry point."""
    rows = list(product(PYTHONS, PLATFORMS))
    with ThreadPoolExecutor(4) as pool:
        fetched = pool.map(lambda platform: missing(sphinx.PYTHON, platform, FETCHED), PLATFORMS)
        cells = list(pool.map(lambda cell: missing(*cell), ((*row, named(lock)) for row in rows for lock in LOCKS)))
    print(f"{'Python':8}{'platform':15}" + "".join(f"{lock:30}" for lock in LOCKS))
    bad = False
    for number, (python, platform) in enumerate(rows):
        found = cells[number * len(LOCKS) :][: len(LOCKS)]
        print(f"{python:8}{platform:15}" + "".join(f"{said or 'wheels':30}" for said in found))
        bad = bad or any(
            said and said != f"no {ABSENT.get((platform, lock))}" for lock, said in zip(LOCKS, found, strict=True)
        )
    print(f"\n{FETCHED} for Python {sphinx.PYTHON}, whose library other Pythons use where the locks have none:")
    for platform, said in zip(PLATFORMS, fetched, strict=True):
        print(f"{'':8}{platform:15}{said or 'wheel'}")
        bad = bad or bool(said)
    sys.exit(bad)


def named(lock: str) -> str:
    """Return the option of uv that names a lock."""
    return f"--requirements=requirements_{lock}.txt"


def missing(python: str, platform: str, what: str) -> str:
    """Return "no NAME" for a package of the lock, or the one named, without a wheel there; empty if all have one."""
    command = ["uv", "pip", "install", "--dry-run", "--no-deps", "--only-binary=:all:"]
    where = [f"--python-version={python}", f"--python-platform={PLATFORMS[platform]}"]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0", "NO_COLOR": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with tempfile.TemporaryDirectory() as target:
        command += [*where, f"--target={target}", what]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    named = re.search(r"Because ([\w.-]+)==", done.stderr)
    return f"no {named[1]}" if named else "not resolved: " + done.stderr.strip().replace("\n", " ")


if __name__ == "__main__":
    main()
