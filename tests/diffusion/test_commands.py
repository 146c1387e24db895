"""`dice-talk doctor | make-tiny-checkpoints`."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from dice_talk.__main__ import main
from dice_talk.diffusion import doctor, files
from dice_talk.doctor import BAD, GOOD, NOTE
from dice_talk.engines import choose_engine
from tests.conftest import NO_TORCH


def test_doctor_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert all(f"problem  file {name}: missing" in said for name in files.NEEDED_FILES)
    assert f"note     file {files.YOLOFACE}: missing (optional)" in said
    assert "engine: lite" in said


def test_doctor_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a torch that is missing nor one that cannot be loaded ends the report."""
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert {finding.subject for finding in doctor.examine(tmp_path)} >= {"device", "face detector"}

    def broken(module: str) -> Any:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", broken)
    found = {finding.subject: finding for finding in doctor.examine(tmp_path)}
    assert found["device"].grade == BAD and "libcudart" in found["device"].words


@pytest.mark.parametrize(
    ("device", "gib", "grade", "words"),
    [
        ("cuda", 80, GOOD, "80.0 GiB: min_resolution up to about 1024"),
        ("cuda", 7.7, GOOD, "7.7 GiB: min_resolution up to about 256; with DICE_TALK_WORKERS=1 up to about 512"),
        ("cuda", 6.1, GOOD, "too little for two tasks at once; with DICE_TALK_WORKERS=1 up to about 256"),
        ("cuda", 4, BAD, "too little for published weights"),
        (
            "mps",
            12,
            NOTE,
            "up to about 512; with DICE_TALK_WORKERS=1 up to about 768; published",
        ),
        ("cpu", 16, NOTE, "cpu, 16.0 GiB: min_resolution up to about 256"),  # float32 takes twice as much
        ("cpu", 8, NOTE, "too little for published weights"),
    ],
)
def test_doctor_says_what_fits(
    device: str, gib: float, grade: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    from dice_talk.diffusion import devices

    monkeypatch.setattr(devices, "best_device", lambda: torch.device(device))
    monkeypatch.setattr(devices, "name", lambda device: device.type)
    monkeypatch.setattr(devices, "memory_bytes", lambda device: int(gib * 2**30))
    (finding,) = doctor._device()
    assert finding.grade == grade and words in finding.words


def test_this_machines_memory_is_known() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    (finding,) = doctor._device()
    assert "GiB" in finding.words


def test_a_command_that_needs_the_engines_packages_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(module: str) -> Any:
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(importlib, "import_module", absent)
    assert main(["make-tiny-checkpoints", str(tmp_path)]) == 3
    assert capsys.readouterr().err == "torch is not installed. Run: ./start_server.sh install diffusion\n"


def test_tiny_checkpoints_pass_the_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    folder = tmp_path / "tiny"
    assert main(["make-tiny-checkpoints", str(folder)]) == 0
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        *files.NEEDED_FILES,
        "weights.json",
    }
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 20e6
    assert choose_engine("auto", folder) == "diffusion"
    assert main(["doctor", "--checkpoints", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "note     weights: tiny random weights" in said and "engine: diffusion" in said


def test_tiny_checkpoints_replace_nothing(tmp_path: Path) -> None:
    (tmp_path / files.UNET).parent.mkdir()
    (tmp_path / files.UNET).write_bytes(b"precious")
    assert main(["make-tiny-checkpoints", str(tmp_path)]) == 2
    assert (tmp_path / files.UNET).read_bytes() == b"precious"


def test_doctor_names_all_that_is_broken(
    tiny_checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where there is no checksum to compare with, and though another file is missing."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    shutil.copytree(tiny_checkpoints, tmp_path, dirs_exist_ok=True)
    state = torch.load(tmp_path / files.UNET, weights_only=True)
    del state["conv_in.weight"]
    torch.save(state, tmp_path / files.UNET)
    torch.save({"conv_in.weight": Path}, tmp_path / files.POSE_GUIDER)  # names code
    for name in (files.VAE, files.PRIORS[0]):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:500])
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "1 missing: conv_in.weight" in said and "problem  engine: diffusion, which can't be loaded" in said
    for name in (files.POSE_GUIDER, files.VAE, files.PRIORS[0]):
        assert any(Path(name).name in line for line in said.splitlines() if "problem  loading" in line)
    assert said.count("problem  loading") == 4

    (tmp_path / files.FLOWNET).unlink()
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count("problem  loading") == 4 and f"problem  file {files.FLOWNET}: missing" in said
    assert "engine: lite" in said


def test_the_same_seed_gives_the_same_tiny_weights(tiny_checkpoints: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    from safetensors.torch import load_file

    from dice_talk.diffusion.tiny import make_tiny_checkpoints

    make_tiny_checkpoints(tmp_path)
    first, second = (load_file(folder / files.VAE) for folder in (tiny_checkpoints, tmp_path))
    assert all((first[key] == second[key]).all() for key in first)
