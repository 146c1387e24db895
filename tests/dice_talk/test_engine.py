from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from dice_talk.engine import EngineSpec, SpecError
from dice_talk.options import Quality, RenderOptions


def make(**fields: Any) -> EngineSpec:
    least = {"name": "x", "module": "dice_talk.lite.engine", "source_type": "compositeSynthetic"}
    return EngineSpec(**least | fields)


def test_missing_packages_and_files(tmp_path: Path) -> None:
    spec = make(packages=("no_such_package", "numpy"), files=("a/b.pth", "c"))
    (tmp_path / "c").mkdir()
    assert spec.missing(tmp_path) == ["Python package no_such_package", "checkpoint a/b.pth"]
    assert make().missing(tmp_path) == []
    assert make(module="dice_talk.no_such_engine").missing(tmp_path)


def test_packages_that_are_not_installed_are_not_counted() -> None:
    found = make(distributions=("numpy", "no-such-package")).releases()
    assert "no-such-package" not in found
    assert found["numpy"] == version("numpy")


def test_steps_are_counted_in_full_ones() -> None:
    options = RenderOptions(emotion="happy", inference_steps=20, quality="fast")
    assert make().steps(options) == 1
    stepped = make(step_work={Quality.EXACT: 1.0, Quality.FAST: 0.35})
    assert stepped.steps(options) == 7
    assert stepped.steps(options.model_copy(update={"quality": Quality.BALANCED})) == 20, "one that it does not know"
    assert make(step_work={Quality.FAST: 0.01}).steps(options) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "auto"}, "auto is taken"),
        ({"name": "My Engine"}, "cannot name an engine"),
        ({"name": "x" * 32}, "cannot name an engine"),
        ({"packages": "numpy"}, "packages of x is not a tuple"),
        ({"files": ["a"]}, "files of x is not a tuple"),
        ({"doctor": "some.module"}, "doctor of x is not module:function"),
        ({"portrait_check": "some.module.function"}, "portrait_check of x"),
        ({"source_type": "digitalCapture"}, "source_type of x is not one of"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make(**fields)
