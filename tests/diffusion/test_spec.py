"""The diffusion engine's spec: its functions exist, and it is read where torch is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from dice_talk.diffusion import doctor, files
from dice_talk.diffusion.spec import SPEC
from dice_talk.engine import resolve
from dice_talk.options import Quality, RenderOptions
from tests.conftest import ROOT


def test_its_functions_exist() -> None:
    assert SPEC.weights and resolve(SPEC.weights) is files.weights_label
    assert SPEC.doctor and resolve(SPEC.doctor) is doctor.examine


def test_optional_checkpoints_are_not_missing_but_count(tmp_path: Path) -> None:
    """Another face detector may find another face."""
    assert not set(files.OPTIONAL_FILES) & set(SPEC.files)
    model = tmp_path / files.INSIGHTFACE / "models" / "one" / "face.onnx"
    model.parent.mkdir(parents=True)
    model.touch()
    (tmp_path / files.YOLOFACE).touch()
    assert SPEC.checkpoint_files(tmp_path) == [tmp_path / files.YOLOFACE, model]
    assert f"checkpoint {files.UNET}" in SPEC.missing(tmp_path)
    assert not any(files.YOLOFACE in name for name in SPEC.missing(tmp_path))


@pytest.mark.parametrize(("quality", "steps"), [(Quality.EXACT, 20), (Quality.BALANCED, 11), (Quality.FAST, 7)])
def test_lower_quality_is_less_work(quality: Quality, steps: int) -> None:
    assert SPEC.steps(RenderOptions(emotion="sad", inference_steps=20, quality=quality)) == steps


def test_no_torch_is_imported() -> None:
    code = "import sys, dice_talk.diffusion.spec; print({'torch', 'diffusers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
