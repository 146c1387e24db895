"""What is computed on, in which precision, and how much memory it has."""

from pathlib import Path

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

import psutil

from dice_talk.diffusion import devices, doctor
from dice_talk.doctor import BAD
from dice_talk.engine import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_fastest_device_is_taken(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.best_device() == torch.device(best)


@pytest.mark.parametrize(
    ("device", "hip", "name"),
    [
        ("cuda", None, "float16"),
        ("cuda", "6.4", "float32"),  # AMD's cards call themselves cuda
        ("mps", None, "float32"),
        ("cpu", None, "float32"),
    ],
)
def test_only_nvidias_cards_compute_in_half_precision(
    device: str, hip: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    assert devices.precision(torch.device(device)) == getattr(torch, name)
    for wanted, chosen in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        assert devices.precision(torch.device(device), Precision(wanted)) == chosen


def test_a_card_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with a driver that is too old: its tool finds the card, and torch does not."""
    if torch.cuda.is_available():
        pytest.skip("torch can use this machine's card")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.refused_nvidia() is None
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "GPU 0: NVIDIA H100 (UUID: GPU-1)"\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    words = devices.refused_nvidia()
    assert words and torch.__version__ in words and "Update NVIDIA's driver" in words
    finding = next(doctor._device())
    assert (finding.grade, finding.words) == (BAD, words)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.refused_nvidia() is None, "hidden on purpose"


def test_this_machine() -> None:
    assert devices.name(CPU) == "cpu"
    assert devices.memory_bytes(CPU) == pytest.approx(psutil.virtual_memory().total, rel=0.01)


def test_a_card_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert devices.name(torch.device("cuda", 1)) == "card 1"
    assert devices.name(torch.device("mps")) == "mps"


def test_each_device_frees_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: freed.append("mps"))
    for device in ("cpu", "mps", "cuda"):
        devices.free_unused(torch.device(device))
    assert freed == ["mps", "cuda"]
