"""What `dice-talk doctor` says of engines, whichever they are. Diffusion's own: tests/diffusion/test_doctor.py."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dice_talk import doctor
from dice_talk.doctor import BAD, GOOD, NOTE, Finding
from dice_talk.engine import EngineSpec
from dice_talk.engines import ENGINES, RefusedEngine

SPEC = EngineSpec(name="other", module="dice_talk.lite.engine", source_type="algorithmicMedia", auto=30)


def sound(checkpoints: Path) -> Iterator[Finding]:
    yield Finding(GOOD, "mirror", f"{checkpoints.name} shines")


def damaged(checkpoints: Path) -> Iterator[Finding]:
    yield Finding(BAD, "mirror", "is broken", fatal=True)


def raising(checkpoints: Path) -> Iterator[Finding]:
    yield Finding(GOOD, "frame", "is there")
    raise ZeroDivisionError("no mirror")


def exiting(checkpoints: Path) -> Iterator[Finding]:
    sys.exit("no mirror")


def counting(checkpoints: Path) -> Iterator[int]:
    yield 5


def grading(checkpoints: Path) -> Iterator[Finding]:
    yield Finding("excellent", "mirror", "shines")


class Examine:
    """Findings by subject, with another engine that ranks above all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch, self._folder = monkeypatch, folder

    def __call__(self, spec: EngineSpec) -> dict[str, Finding]:
        self._monkeypatch.setitem(ENGINES, spec.name, spec)
        return {finding.subject: finding for finding in doctor.examine(self._folder)}


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Examine:
    return Examine(monkeypatch, tmp_path)


def test_an_engine_speaks_for_itself(examine: Examine, tmp_path: Path) -> None:
    found = examine(replace(SPEC, doctor=f"{__name__}:sound"))
    assert found["mirror"] == Finding(GOOD, "mirror", f"{tmp_path.name} shines")
    assert "engine other" not in found
    assert found["engine"].words.startswith("other; ")


def test_one_that_cannot_be_loaded_is_a_problem_where_it_is_chosen(examine: Examine) -> None:
    found = examine(replace(SPEC, doctor=f"{__name__}:damaged"))
    assert (found["engine"].grade, "other, which can't be loaded" in found["engine"].words) == (BAD, True)
    found = examine(replace(SPEC, doctor=f"{__name__}:damaged", auto=None))
    assert (found["engine"].grade, found["engine"].words.split(";")[0]) == (GOOD, "lite")


def test_one_that_says_nothing_is_complete_or_lacks_something(examine: Examine) -> None:
    assert examine(SPEC)["engine other"] == Finding(GOOD, "engine other", "complete")
    lacking = examine(replace(SPEC, packages=("no_such_package",), remedy="Do it."))["engine other"]
    assert lacking == Finding(NOTE, "engine other", "missing: Python package no_such_package. Do it.")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("raising", "ZeroDivisionError: no mirror"),
        ("nowhere", "AttributeError: "),
        ("exiting", "SystemExit: no mirror"),
        ("counting", "TypeError: not a finding: 5"),
        ("grading", "TypeError: not a finding: Finding(grade='excellent'"),
    ],
)
def test_one_that_raises_does_not_end_the_report(examine: Examine, path: str, words: str) -> None:
    found = examine(replace(SPEC, doctor=f"{__name__}:{path}"))
    assert found["engine other"].grade == BAD
    assert found["engine other"].words.startswith(f"cannot be examined: {words}")
    assert "engine" in found


def test_refused_ones_are_problems(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = RefusedEngine("third", "third-package", "no luck")
    monkeypatch.setattr(doctor, "REFUSED", [refused])
    assert examine(SPEC)["engine third"] == Finding(BAD, "engine third", str(refused))
