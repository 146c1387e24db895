"""What people see: one line for each error, bars on a terminal only, and nothing from libraries."""

import io
import subprocess
import sys

import pytest

from dice_talk.cli.screen import Bars, complain, explain, paint, quiet, tell
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage
from tests.conftest import ROOT

Capture = pytest.CaptureFixture[str]


def test_results_and_complaints_have_streams_of_their_own(capsys: Capture) -> None:
    tell("video.mp4")
    complain("It is\n  too long")
    assert tuple(capsys.readouterr()) == ("video.mp4\n", "It is too long\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InvalidImage(ErrorCode.IMAGE_DAMAGED, "It is damaged", "Send another."), "It is damaged. Send another."),
        (InvalidImage(ErrorCode.IMAGE_DAMAGED, "It is damaged"), "It is damaged"),
        (FileNotFoundError(2, "No such file or directory", "gone.wav"), "gone.wav: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("That does not fit"), "That does not fit"),
    ],
)
def test_errors_in_one_line(error: Exception, words: str) -> None:
    assert explain(error) == words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    stream: io.StringIO, variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert paint("words", "red", stream) == ("\x1b[31mwords\x1b[0m" if coloured else "words")


def test_errors_name_flags() -> None:
    error = InvalidImage(ErrorCode.IMAGE_DAMAGED, "It is small", "Lower min_resolution, or use crop=true.")
    assert explain(error) == "It is small. Lower --min-resolution, or use --crop."


def test_bars_show_nothing_without_a_terminal(capsys: Capture) -> None:
    with Bars() as bars:
        bars.show("one", 0.5, "Working...")
    assert tuple(capsys.readouterr()) == ("", "")


def test_bars_on_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bar for each name, which moves. It stays when it is done."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    with Bars() as bars:
        bars.show("one", 0, "Waiting...")
        bars.show("two", 0.25)
        bars.show("one", 1, "done")
    shown = [line.strip() for line in capsys.readouterr().err.replace("\n", "\r").split("\r") if line.strip()]
    last = {name: [line for line in shown if name in line][-1] for name in ("one", "two")}
    assert "100%" in last["one"] and "done" in last["one"]
    assert "25%" in last["two"]


def test_python_code_is_quiet_within_the_block_only(capsys: Capture) -> None:
    with quiet():
        sys.stdout.write("library\n")
        sys.stderr.write("library\n")
    sys.stdout.write("result\n")
    assert tuple(capsys.readouterr()) == ("result\n", "")


def test_libraries_are_silenced_and_the_command_is_not() -> None:
    """Libraries in C write to the descriptors, past Python's streams."""
    code = (
        "import os; from dice_talk.cli.screen import complain, silence_libraries, tell; silence_libraries();"
        "os.write(1, b'library'); os.write(2, b'library'); tell('result: 某'); complain('problem')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert (done.stdout.decode(), done.stderr.decode()) == ("result: 某\n", "problem\n")
