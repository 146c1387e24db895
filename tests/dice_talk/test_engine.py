from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from dice_talk.engine import ENGINES, EngineChoice, EngineSpec, choose_engine, fingerprint, versions
from dice_talk.errors import EngineUnavailable


def test_auto_takes_lite_where_diffusion_is_not_complete(tmp_path: Path) -> None:
    assert choose_engine("auto", tmp_path) == "lite"
    assert choose_engine("lite", tmp_path) == "lite"


def test_requests_may_name_every_engine() -> None:
    assert set(get_args(EngineChoice)) == {"auto", *ENGINES}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="'diffusion' is not available") as caught:
        choose_engine("diffusion", tmp_path)
    assert caught.value.detail
    assert caught.value.detail.startswith("Missing: ")
    assert str(tmp_path) not in caught.value.detail


def test_missing_packages_and_files(tmp_path: Path) -> None:
    spec = EngineSpec(
        "x", "dice_talk.lite.engine", ("no_such_package", "numpy"), (), (), ("a/b.pth", "c"), (), False, "Do it.", "x"
    )
    (tmp_path / "c").mkdir()
    assert spec.missing(tmp_path) == ["Python package no_such_package", "checkpoint a/b.pth"]


def test_fingerprint_follows_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EngineSpec("x", "dice_talk.lite.engine", (), ("numpy",), (), ("weights",), ("extra",), False, "", "x")
    monkeypatch.setitem(ENGINES, "x", spec)
    (tmp_path / "weights").mkdir()
    empty = fingerprint("x", tmp_path)
    assert version("numpy") in empty
    (tmp_path / "weights" / "a.bin").write_bytes(b"1")
    one = fingerprint("x", tmp_path)
    (tmp_path / "weights" / "a.bin").write_bytes(b"12")
    two = fingerprint("x", tmp_path)
    (tmp_path / "extra").write_bytes(b"1")
    assert len({empty, one, two, fingerprint("x", tmp_path)}) == 4


@pytest.mark.parametrize("name", ENGINES)
def test_fingerprint_follows_the_revision_and_not_the_release(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(name, tmp_path)
    monkeypatch.setattr("dice_talk.engine.__version__", "99.0")
    assert fingerprint(name, tmp_path) == before, "a release that renders the same keeps what was rendered"
    next_one = replace(ENGINES[name], revision=ENGINES[name].revision + 1)
    monkeypatch.setitem(ENGINES, name, next_one)
    assert fingerprint(name, tmp_path) != before
    assert versions(name)[f"{name}-engine"] == str(next_one.revision)


def test_packages_that_are_not_installed_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EngineSpec("x", "dice_talk.lite.engine", (), ("numpy", "no-such-package"), (), (), (), False, "", "x")
    monkeypatch.setitem(ENGINES, "x", spec)
    assert "no-such-package" not in fingerprint("x", tmp_path)
    assert versions("x")["numpy"] == version("numpy")
