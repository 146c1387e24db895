import json
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dice_talk.child import CPU_SECONDS, End
from dice_talk.forkserver import OUT_OF_MEMORY, classify_end
from dice_talk.video import VideoWriter
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("code", "seconds", "end"),
    [
        (0, 0.1, End.DONE),
        (1, 0.1, End.FAILED),
        (OUT_OF_MEMORY, 0.1, End.LIMIT),
        (-signal.SIGSEGV, 0.1, End.LIMIT),
        (-signal.SIGXCPU, CPU_SECONDS, End.LIMIT),
        (-signal.SIGKILL, CPU_SECONDS - 0.1, End.LIMIT),
        (-signal.SIGKILL, 1.0, End.KILLED),
        (-signal.SIGTERM, 1.0, End.KILLED),
    ],
)
def test_how_a_child_ended(code: int, seconds: float, end: End) -> None:
    assert classify_end(code, seconds) is end


INSPECT = """
import sys
from dice_talk.forkserver import load
module = sys.argv[1]
load([module])
before = set(sys.modules)
sys.argv = sys.argv[1:]
sys.modules[module].main()
print()
print(*sorted(set(sys.modules) - before))
"""
ARGUMENTS = {
    "dice_talk.intake": ("{image}", "{audio}", "300"),
    "dice_talk.digest": ("{image}", "{audio}", "{video}"),
    "dice_talk.preflight": ("lite", json.dumps({"emotion": "happy"}), "{image}", "{audio}"),
}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("module", ARGUMENTS)
def test_an_inspection_imports_nothing(tmp_path: Path, module: str, suffix: str) -> None:
    image, audio = tmp_path / f"image{suffix}", tmp_path / "audio.wav"
    Image.open(ROOT / "examples" / "portrait.jpg").save(image)
    with wave.open(str(audio), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(64000))
    video = tmp_path / "video.mp4"
    sound = np.zeros((800, 1), np.float32)
    with VideoWriter(video, width=128, height=128, fps=20, frames=1, sound=sound, rate=16000, metadata={}) as writer:
        writer.write(np.zeros((128, 128, 3), np.uint8))
    files = {"{image}": str(image), "{audio}": str(audio), "{video}": str(video)}
    given = [files.get(one, one) for one in ARGUMENTS[module]]
    done = subprocess.run([sys.executable, "-c", INSPECT, module, *given], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
