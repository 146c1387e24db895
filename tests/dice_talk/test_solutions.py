"""mediapipe without what it never uses."""

import subprocess
import sys

CODE = """
import sys
from dice_talk.lite.models import load_models
load_models()
assert "mediapipe" in sys.modules
print(*(name for name in sys.modules if name.partition(".")[0] in ("matplotlib", "sounddevice")))
import matplotlib
print(matplotlib.__version__)
"""


def test_neither_plots_nor_microphones_are_loaded_and_both_can_be_later() -> None:
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    loaded, version = said.splitlines()
    assert loaded == ""
    assert version[0].isdigit()
