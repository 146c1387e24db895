"""Output for people: bars and errors on standard error, results on standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Self, TextIO

import click
from tqdm import tqdm

from dice_talk.cli.words import for_people

_BAR = "{desc} |{bar}| {percentage:3.0f}% {elapsed}{postfix}"


def tell(text: str) -> None:
    """Print a line on standard output, without breaking a bar."""
    with tqdm.external_write_mode(file=sys.stdout):
        click.echo(text)


def complain(text: str, colour: str = "red") -> None:
    """Print a line on standard error, in colour on a terminal."""
    with tqdm.external_write_mode(file=sys.stderr):
        click.echo(paint(" ".join(text.split()), colour, sys.stderr), err=True)


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Colour a text if its stream is a terminal that shows colours. `NO_COLOR` forbids it (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else click.style(text, fg=colour)


def explain(error: Exception) -> str:
    """Return an error in one line: what was wrong, and what to do."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    detail = getattr(error, "detail", None)
    return for_people(f"{error}. {detail}" if detail else str(error))


class Bars:
    """Progress bars by name. A context manager; shows nothing if standard error is not a terminal."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()

    def show(self, name: str, share: float, words: str = "") -> None:
        """Move a bar, or add it."""
        if name not in self._bars:
            # Standard error as it is now: `quiet` takes it away from whoever else would write between the bars.
            self._bars[name] = tqdm(total=1.0, desc=name, file=sys.stderr, disable=None, bar_format=_BAR)
        bar = self._bars[name]
        bar.n = share
        bar.set_postfix_str(words)


def silence_libraries() -> None:
    """Redirect standard output and standard error away from libraries for the life of the process.

    C and C++ libraries (FFmpeg, OpenCV, torch) write straight to standard error, at any time.
    """
    sys.stdout, sys.stderr = (
        os.fdopen(os.dup(stream.fileno()), "w", buffering=1, encoding="utf-8") for stream in (sys.stdout, sys.stderr)
    )
    with Path(os.devnull).open("w") as nowhere:
        for descriptor in (1, 2):
            os.dup2(nowhere.fileno(), descriptor)


@contextmanager
def quiet() -> Iterator[None]:
    """Do the same for Python code in this block."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
