from importlib.metadata import version
from pathlib import Path

import pytest

from dice_talk import __version__
from dice_talk.engine import ENGINES, EngineSpec, choose_engine, fingerprint
from dice_talk.errors import EngineUnavailable


def test_auto_takes_lite_where_diffusion_is_not_complete(tmp_path: Path) -> None:
    assert choose_engine("auto", tmp_path) == "lite"
    assert choose_engine("lite", tmp_path) == "lite"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="'diffusion' is not available") as caught:
        choose_engine("diffusion", tmp_path)
    assert caught.value.detail
    assert caught.value.detail.startswith("Missing: ")
    assert str(tmp_path) not in caught.value.detail


def test_missing_packages_and_files(tmp_path: Path) -> None:
    spec = EngineSpec(
        "x", "dice_talk.lite.engine", ("no_such_package", "numpy"), (), (), ("a/b.pth", "c"), (), False, "Do it."
    )
    (tmp_path / "c").mkdir()
    assert spec.missing(tmp_path) == ["Python package no_such_package", "checkpoint a/b.pth"]


def test_fingerprint_follows_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EngineSpec("x", "dice_talk.lite.engine", (), ("numpy",), (), ("weights",), ("extra",), False, "")
    monkeypatch.setitem(ENGINES, "x", spec)
    (tmp_path / "weights").mkdir()
    empty = fingerprint("x", tmp_path)
    assert __version__ in empty
    assert version("numpy") in empty
    (tmp_path / "weights" / "a.bin").write_bytes(b"1")
    one = fingerprint("x", tmp_path)
    (tmp_path / "weights" / "a.bin").write_bytes(b"12")
    two = fingerprint("x", tmp_path)
    (tmp_path / "extra").write_bytes(b"1")
    assert len({empty, one, two, fingerprint("x", tmp_path)}) == 4
