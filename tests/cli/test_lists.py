"""`dice-talk emotions` and `dice-talk engines`, for people and for programs."""

import json
from pathlib import Path

import pytest

from dice_talk.__main__ import main
from dice_talk.cli import lists
from dice_talk.emotions import Emotion
from dice_talk.engines import ENGINES, RefusedEngine

Capture = pytest.CaptureFixture[str]


def test_emotions(capsys: Capture) -> None:
    assert main(["emotions"]) == 0
    assert capsys.readouterr().out.split() == list(Emotion)
    assert main(["emotions", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == [{"emotion": emotion.value} for emotion in Emotion]


def test_engines(capsys: Capture, tmp_path: Path) -> None:
    assert main(["engines", "--json", "--checkpoints", str(tmp_path)]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(engine["engine"], engine["available"], engine["auto"]) for engine in said] == [
        ("diffusion", False, False),
        ("lite", True, True),
    ]
    assert said[0]["missing"] == ENGINES["diffusion"].missing(tmp_path)
    assert said[1]["missing"] == []


def test_engines_in_words(capsys: Capture, tmp_path: Path) -> None:
    """What is missing is abbreviated, and the engine that auto takes is marked."""
    assert main(["engines", "--checkpoints", str(tmp_path)]) == 0
    diffusion, lite = capsys.readouterr().out.splitlines()
    assert diffusion.startswith("diffusion  missing: ") and "(auto)" not in diffusion
    assert len(diffusion) < len(", ".join(ENGINES["diffusion"].missing(tmp_path)))
    assert lite == "lite       available (auto)"


def test_no_engine_is_marked_where_none_is_complete(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(ENGINES) - {"diffusion"}:
        monkeypatch.delitem(ENGINES, name)
    assert main(["engines", "--json", "--checkpoints", str(tmp_path)]) == 0
    (said,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (said["engine"], said["available"], said["auto"]) == ("diffusion", False, False)


def test_refused_engines_are_named_on_standard_error(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = RefusedEngine("third", "third-package", "no luck")
    monkeypatch.setattr(lists, "REFUSED", [refused])
    assert main(["engines"]) == 0
    output = capsys.readouterr()
    assert output.err == f"{refused}\n"
    assert "third" not in output.out
