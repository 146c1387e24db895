"""`dice-talk download | doctor | make-tiny-checkpoints`: what they say, and their exit codes."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from dice_talk import doctor as examiner
from dice_talk.__main__ import main
from dice_talk.diffusion import download as published
from dice_talk.diffusion import files
from dice_talk.diffusion.checksums import checksum_of, note
from dice_talk.doctor import BAD, GOOD, NOTE, Finding


def finds(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(examiner, "examine", lambda checkpoints: iter(findings))


def test_doctor_prints_findings_in_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    finds(monkeypatch, Finding(GOOD, "file a", "1 kB"), Finding(NOTE, "file b", "missing"))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == ["ok       file a: 1 kB", "note     file b: missing"]


def test_doctor_fails_if_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, Finding(BAD, "file a", "missing"), Finding(GOOD, "engine", "lite"))
    assert main(["doctor"]) == 1


def test_the_engines_packages_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(module: str) -> Any:
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(importlib, "import_module", absent)
    assert main(["make-tiny-checkpoints", str(tmp_path)]) == 3
    assert capsys.readouterr().err == "torch is not installed. Run: ./start_server.sh install diffusion\n"


def test_tiny_checkpoints_replace_nothing(tmp_path: Path) -> None:
    (tmp_path / files.UNET).parent.mkdir()
    (tmp_path / files.UNET).write_bytes(b"precious")
    assert main(["make-tiny-checkpoints", str(tmp_path)]) == 2
    assert (tmp_path / files.UNET).read_bytes() == b"precious"


def test_a_download_that_does_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is fetched: the address leads nowhere."""
    known = [published.Remote(files.VAE, "http://127.0.0.1:9/", "free", size=2_000_000)]
    known.append(published.Remote(files.UNET, "http://127.0.0.1:9/", "not free", size=None))
    monkeypatch.setattr(published, "describe_all", lambda asked: (known if asked else [], {}))
    monkeypatch.setattr(published, "free_bytes", lambda folder: 1_999_999)
    assert main(["download", "--yes", "--checkpoints", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        f"      2.0 MB  {files.VAE}  (free)",
        f"size unknown  {files.UNET}  (not free)",
        f"      2.0 MB  in all, into {tmp_path}; 2.0 MB are free there.",
    ]
    assert output.err == "That does not fit\n"


def test_a_complete_folder_needs_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (*(source.path for source in files.HUB_FILES), *files.PRIORS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
        note(tmp_path, path, checksum_of(tmp_path / path))
    assert main(["download", "--checkpoints", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"Everything is there: {tmp_path}\n"
