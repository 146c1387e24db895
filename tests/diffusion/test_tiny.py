"""Tiny random weights: complete, small, and the same each time."""

from pathlib import Path

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from safetensors.torch import load_file

from dice_talk.__main__ import main
from dice_talk.diffusion import files
from dice_talk.diffusion.tiny import make_tiny_checkpoints
from dice_talk.engines import choose_engine


def test_tiny_checkpoints_pass_the_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_the_same_seed_gives_the_same_weights(tiny_checkpoints: Path, tmp_path: Path) -> None:
    """Torch's own random numbers have no influence, and are not changed."""
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    make_tiny_checkpoints(tmp_path / "same")
    assert torch.equal(torch.rand(3), wanted)
    make_tiny_checkpoints(tmp_path / "other", seed=1)
    first, second, other = (
        load_file(folder / files.VAE) for folder in (tiny_checkpoints, tmp_path / "same", tmp_path / "other")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    for path in files.PRIORS:
        prior = (tiny_checkpoints / path).read_bytes()
        assert (tmp_path / "same" / path).read_bytes() == prior != (tmp_path / "other" / path).read_bytes()
    assert len({(tmp_path / "same" / path).read_bytes() for path in files.PRIORS}) == len(files.PRIORS)
