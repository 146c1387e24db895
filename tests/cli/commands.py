"""The command line in a process of its own, as people type it."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PORTRAIT, SPEECH = ROOT / "examples" / "portrait.jpg", ROOT / "examples" / "speech.wav"
COMMAND = [sys.executable, "-m", "dice_talk"]


def typed(folder: Path, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=110, check=False)


def said(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What stands on standard error, line by line."""
    return done.stderr.decode().splitlines()
