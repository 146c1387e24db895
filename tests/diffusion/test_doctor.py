"""What `dice-talk doctor` says of the diffusion engine: files, weights, packages and device."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from dice_talk import doctor as general
from dice_talk import engine
from dice_talk.__main__ import main
from dice_talk.diffusion import doctor, files
from dice_talk.diffusion.checksums import Checksum, checksum_of, note
from dice_talk.diffusion.spec import SPEC
from dice_talk.doctor import BAD, GOOD, NOTE, Finding
from dice_talk.errors import EngineUnavailable
from tests.conftest import NO_TORCH


def test_files(tmp_path: Path) -> None:
    """Unreadable, changed, right and without a note of what is right."""
    for name in (files.UNET, files.VAE, files.FLOWNET, files.YOLOFACE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(1500))
    (tmp_path / files.EMO_MODEL).mkdir()
    note(tmp_path, files.UNET, checksum_of(tmp_path / files.UNET))
    note(tmp_path, files.VAE, Checksum(1500, "aa"))
    found = {finding.subject.removeprefix("file "): finding for finding in doctor._files(tmp_path)}
    assert list(found) == [*files.NEEDED_FILES, *files.OPTIONAL_FILES]
    said = {name: (finding.grade, finding.words) for name, finding in found.items()}
    assert said[files.UNET] == (GOOD, "1.50 kB, checksum right")
    assert said[files.VAE][0] == BAD and said[files.VAE][1].startswith("is not what was downloaded; run")
    assert (
        said[files.FLOWNET]
        == said[files.YOLOFACE]
        == (GOOD, "1.50 kB, no checksum recorded; dice-talk download compares it")
    )
    assert said[files.EMO_MODEL] == (BAD, "can't be read")
    assert said[files.WHISPER_CONFIG] == (BAD, "missing; run: dice-talk download")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (2_500_000, "2.50 MB"), (3_049_000_000, "3.05 GB")],
)
def test_sizes(count: int, words: str) -> None:
    assert doctor._size(count) == words


@pytest.mark.parametrize(
    ("packages", "path", "words"),
    [
        ((), None, "built in"),
        ((), files.YOLOFACE, "yoloface, as published"),
        ((), f"{files.INSIGHTFACE}/models/one/face.onnx", "built in"),
        (("insightface",), f"{files.INSIGHTFACE}/models/one/face.onnx", "insightface"),
        (("insightface",), None, "built in"),
    ],
)
def test_face_detectors(
    packages: tuple[str, ...], path: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: name in packages or None)
    if path:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert doctor._detector(tmp_path) == Finding(GOOD, "face detector", words)


def test_weights_are_named_only_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert list(doctor._weights(tmp_path)) == []
    (tmp_path / files.UNET).parent.mkdir()
    (tmp_path / files.UNET).touch()
    assert list(doctor._weights(tmp_path)) == [Finding(NOTE, "weights", files.UNVERIFIED)]


@pytest.mark.parametrize("error", [ImportError("no libgomp"), OSError("no libgomp")])
def test_packages_that_cannot_be_loaded_say_why(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str) -> Any:
        raise error

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineUnavailable, match="can't be loaded: no libgomp"):
        doctor._import("dice_talk.diffusion.devices")


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert all(f"problem  file {name}: missing" in said for name in files.NEEDED_FILES)
    assert f"note     file {files.YOLOFACE}: missing (optional)" in said
    assert "engine: lite" in said


def test_an_installation_for_lite_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hides torch and its like from the interpreter, as if they had never been installed."""
    hidden = {*SPEC.packages, "safetensors", "insightface", "onnxruntime"}
    found = importlib.util.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in hidden else found(name))
    monkeypatch.setattr(engine, "find_spec", lambda name, *_: None if name in hidden else found(name))
    monkeypatch.setattr(general, "_release", lambda name: None if name in hidden else "1.0")
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "diffusion" in line or "torch" in line]
    assert line.startswith("note     diffusion: not installed") and "engine: lite" in said


def test_unexpected_keys_are_shown_and_stop_nothing(
    tiny_checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    shutil.copytree(tiny_checkpoints, tmp_path, dirs_exist_ok=True)
    state = torch.load(tmp_path / files.POSE_GUIDER, weights_only=True)
    torch.save({**state, "intruder.weight": torch.zeros(1)}, tmp_path / files.POSE_GUIDER)
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"note     loading: {files.POSE_GUIDER}: keys that are not expected" in said and "intruder.weight" in said
    assert "ok       loading: every key is there\n" in said and "engine: diffusion" in said


def test_torch_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a torch that is missing nor one that cannot be loaded ends the report."""
    (tmp_path / files.PRIORS[0]).parent.mkdir()
    (tmp_path / files.PRIORS[0]).touch()
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
        ("cuda", 6.4, GOOD, "too little for two tasks at once; with DICE_TALK_WORKERS=1 up to about 256"),
        ("cuda", 4, BAD, "too little for published weights"),
        (
            "mps",
            12.5,
            NOTE,
            "too little for two tasks at once; with DICE_TALK_WORKERS=1 up to about 256; published",
        ),
        ("cpu", 16, NOTE, "cpu, 16.0 GiB: min_resolution up to about 256"),  # float32 takes twice as much
        ("cpu", 8, NOTE, "too little for published weights"),
    ],
)
def test_what_fits(device: str, gib: float, grade: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_all_that_is_broken_is_named(
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
