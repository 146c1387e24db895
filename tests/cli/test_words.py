"""What the service says, as somebody reads it who types commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dice_talk.cli.words import for_people, program
from dice_talk.errors import InvalidOptions
from dice_talk.face import choose, output_size
from dice_talk.image import WRONG_TYPE
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Use crop=true, or a larger min_resolution.", "Use --crop, or a larger --min-resolution."),
        ("Use engine=lite or engine=auto.", "Use --engine lite or --engine auto."),
        ("Set ref_scale=2.5.", "Set --ref-scale 2.5."),
        ("The crop and the emotion of the engine stay.", "The crop and the emotion of the engine stay."),
        ("At my_fps=5 and visible_label=false", "At my_fps=5 and visible_label=false"),
        (WRONG_TYPE, "Invalid image file type. Allowed types: image/jpeg, image/png"),
        ("[1] and ['a', 1] stay", "[1] and ['a', 1] stay"),
    ],
)
def test_sentences(said: str, shown: str) -> None:
    assert for_people(said) == shown


def test_advice_of_the_project_itself() -> None:
    with pytest.raises(InvalidOptions) as large:
        output_size(4000, 100, 1024)
    assert for_people(str(large.value.detail)).endswith("lower --min-resolution, or set --crop.")
    with pytest.raises(InvalidOptions) as none:
        choose(["one"], 3)
    assert for_people(str(none.value.detail)).startswith("--face-index counts from 0")


@pytest.mark.parametrize(
    ("started", "on_path", "shown"),
    [
        ("bin/dice-talk", True, "dice-talk"),
        ("bin/dice-talk", False, "bin/dice-talk"),
        ("/some/where/__main__.py", True, f"{sys.orig_argv[0]} -m dice_talk"),
        ("/some/where/pytest", True, "dice-talk"),
    ],
)
def test_the_program_is_named_as_it_was_started(
    started: str, on_path: bool, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dice-talk").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setenv("PATH", str(tmp_path / "bin") if on_path else str(tmp_path))
    assert program() == shown
    assert for_people("Run: dice-talk download") == f"Run: {shown} download"


def test_the_installed_command_names_itself() -> None:
    command = Path(sys.executable).with_name("dice-talk")
    if not command.exists():
        pytest.skip("the command is not installed here")
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    code = "import sys; sys.argv[0] = sys.argv[1]; from dice_talk.cli.words import program; print(program())"
    done = subprocess.run(
        [sys.executable, "-c", code, command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(command)
