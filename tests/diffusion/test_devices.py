"""What is computed on, in which precision, and how much memory it has."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

import psutil

from dice_talk.diffusion import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_fastest_device_is_taken(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.best_device() == torch.device(best)


@pytest.mark.parametrize(("device", "name"), [("cuda", "float16"), ("mps", "float16"), ("cpu", "float32")])
def test_gpus_compute_in_half_precision(device: str, name: str) -> None:
    assert devices.precision(torch.device(device)) == getattr(torch, name)


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
