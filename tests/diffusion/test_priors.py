"""Emotion priors come in pickles, and no pickle is run. There is no torch here."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dice_talk.diffusion.priors import PRIOR_WIDTH, read_prior
from dice_talk.errors import EngineUnavailable

PRIOR = np.random.default_rng(0).standard_normal((1, PRIOR_WIDTH)).astype(np.float32)


def save(path: Path, content: Any) -> Path:
    np.save(path, np.array(content, dtype=object) if isinstance(content, dict) else content, allow_pickle=True)
    return path


def test_the_published_form(tmp_path: Path) -> None:
    assert np.array_equal(read_prior(save(tmp_path / "happy.npy", {"mu": PRIOR})), PRIOR)


def test_a_plain_array(tmp_path: Path) -> None:
    assert np.array_equal(read_prior(save(tmp_path / "happy.npy", PRIOR[0])), PRIOR)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_other_pickle_protocols(tmp_path: Path, protocol: int) -> None:
    path = save(tmp_path / "happy.npy", {"mu": PRIOR})
    header = path.read_bytes()[:128]
    assert header.endswith(b"\n")
    path.write_bytes(header + pickle.dumps(np.array({"mu": PRIOR}, dtype=object), protocol=protocol))
    if protocol == 2:  # Python 2's form has no bytes in it; it is refused rather than guessed at
        with pytest.raises(EngineUnavailable):
            read_prior(path)
    else:
        assert np.array_equal(read_prior(path), PRIOR)


def test_the_pickle_is_not_run(tmp_path: Path) -> None:
    class Intruder:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    path = save(tmp_path / "happy.npy", {"intruder": Intruder(), "mu": PRIOR})
    assert np.array_equal(read_prior(path), PRIOR)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"sigma": PRIOR},
        {"mu": PRIOR.astype(np.float64)},
        {"mu": PRIOR[:, :100]},
        {"mu": PRIOR.astype(">f4")},
        PRIOR[:, :100],
        np.full_like(PRIOR, np.nan),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, content: Any) -> None:
    with pytest.raises(EngineUnavailable, match=r"happy\.npy"):
        read_prior(save(tmp_path / "happy.npy", content))


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        read_prior(tmp_path / "happy.npy")
    (tmp_path / "happy.npy").write_bytes(b"not an array")
    with pytest.raises(EngineUnavailable):
        read_prior(tmp_path / "happy.npy")


@pytest.mark.parametrize(
    "header", ["{'descr': '<f4", "{'descr': '<f4', 'fortran_order': False, 'shape': (10**15,)}", "(" * 500, "[[[", "{}"]
)
def test_broken_headers_are_refused_by_name(tmp_path: Path, header: str) -> None:
    text = header.replace("10**15", str(10**15)).encode() + b"\n"
    (tmp_path / "happy.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(1024))
    with pytest.raises(EngineUnavailable, match=r"happy\.npy"):
        read_prior(tmp_path / "happy.npy")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "happy.npy").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(EngineUnavailable, match=r"happy\.npy") as caught:
        read_prior(tmp_path / "happy.npy")
    assert "larger" in str(caught.value.detail)
