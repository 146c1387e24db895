"""The lite engine's spec names what the engine loads, and loads none of it."""

import subprocess
import sys
from pathlib import Path

from dice_talk import face_models
from dice_talk.engine import package_file
from dice_talk.lite.spec import SPEC
from tests.conftest import ROOT


def test_every_face_model_is_named() -> None:
    """So that a damaged installation is noticed before a video is asked for."""
    folder = Path(str(face_models.__file__)).parent
    models = {f"dice_talk/face_models/{file.name}" for file in folder.iterdir() if file.suffix in (".tflite", ".json")}
    assert {name for name in SPEC.package_files if name.startswith("dice_talk/")} == models
    assert all(package_file(name).is_file() for name in SPEC.package_files)


def test_it_needs_no_checkpoints(tmp_path: Path) -> None:
    assert SPEC.missing(tmp_path / "nothing here") == []
    assert SPEC.checkpoint_files(tmp_path) == []


def test_timings_go_from_a_fast_machine_to_a_slow_one() -> None:
    seconds = [timing.seconds for timing in SPEC.timings]
    assert len(seconds) >= 2 and seconds == sorted(seconds)


def test_nothing_that_renders_is_imported() -> None:
    code = "import sys, dice_talk.lite.spec; print({'cv2', 'numpy', 'pocketsphinx', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
