"""The command line as a whole: one line for what is wrong, and the exit code."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from dice_talk import __version__
from dice_talk.__main__ import commands, main
from dice_talk.client import ServerUnreachable
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable, InvalidAudio
from tests.conftest import ROOT


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Add a command, `dice-talk act`, which raises an error or returns a code."""

    def add(outcome: Any) -> None:
        def act() -> Any:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setitem(commands.commands, "act", click.command("act")(act))

    return add


def test_the_group_speaks_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    assert capsys.readouterr().err == "No such command 'dance'. (see dice-talk --help)\n"
    assert main([]) == 2
    assert "render" in capsys.readouterr().err
    assert main(["--version"]) == 0


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"dice-talk, version {__version__}\n"


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        (None, 0, ""),
        (1, 1, ""),
        (
            InvalidAudio(ErrorCode.AUDIO_EMPTY, "The audio is empty", "Send sound."),
            1,
            "The audio is empty. Send sound.\n",
        ),
        (EngineUnavailable(ErrorCode.PACKAGE_MISSING, "torch is missing"), 3, "torch is missing\n"),
        (ServerUnreachable(ErrorCode.SERVER_UNREACHABLE, "No server answers"), 3, "No server answers\n"),
        (PermissionError(13, "Permission denied", "out.mp4"), 1, "out.mp4: Permission denied\n"),
        (click.UsageError("Too much"), 2, "Too much (see dice-talk act --help)\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_outcomes_become_exit_codes(
    command: Callable[[Any], None], capsys: pytest.CaptureFixture[str], outcome: Any, code: int, words: str
) -> None:
    command(outcome)
    assert main(["act"]) == code
    assert capsys.readouterr().err.lstrip("\n") == words


@pytest.mark.parametrize(("disposition", "code"), [(signal.SIG_DFL, 128 + signal.SIGHUP), (signal.SIG_IGN, 0)])
def test_a_closed_terminal_ends_the_command_unless_that_is_ignored(disposition: signal.Handlers, code: int) -> None:
    """`nohup` ignores it. In a process of its own, because signals are the process's."""
    act = "lambda arguments=None: os.kill(os.getpid(), signal.SIGHUP) or 0"
    program = f"import os, signal, dice_talk.__main__ as command; command.main = {act}; command.run()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=dict(os.environ),
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, disposition),
    )
    assert done.returncode == code


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dice-talk ver", ["plain,verify"]),
        ("dice-talk render -e a", ["plain,angry", "plain,all"]),
        ("dice-talk submit face", ["file,face"]),
        ("dice-talk preflight --eng", ["plain,--engine"]),
    ],
)
def test_shells_complete_words(typed: str, offered: list[str]) -> None:
    """With what `docs/cli.md` has people put into their shell's start-up file."""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_DICE_TALK_COMPLETE": "bash_complete"}
    command = [sys.executable, "-m", "dice_talk"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **words}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == offered
