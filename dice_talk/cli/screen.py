"""What people see: bars and errors on standard error, results on standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn


def complain(text: str) -> None:
    """One line on standard error."""
    click.echo(" ".join(text.split()), err=True)


def explain(error: Exception) -> str:
    """An error in one line: what was wrong, and what to do."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    detail = getattr(error, "detail", None)
    return f"{error}. {detail}" if detail else str(error)


class Bars:
    """Progress bars, one per name. A context manager; shows nothing where standard error is no terminal."""

    def __init__(self) -> None:
        console = Console(file=sys.stderr)  # this one, also within `quiet`
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            disable=not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),  # else results would go to the terminal, not into the pipe
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, name: str, share: float, words: str = "") -> None:
        """Moves a bar; the first time, adds it."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(escape(name), total=1.0, words="")
        self._progress.update(self._tasks[name], completed=share, words=escape(words))


def silence_libraries() -> None:
    """Takes both outputs for us alone, as long as the process lives.

    Threads of mediapipe's C++ parts write straight to standard error, and whenever they like.
    """
    sys.stdout, sys.stderr = (
        os.fdopen(os.dup(stream.fileno()), "w", buffering=1, encoding="utf-8") for stream in (sys.stdout, sys.stderr)
    )
    with Path(os.devnull).open("w") as nowhere:
        for descriptor in (1, 2):
            os.dup2(nowhere.fileno(), descriptor)


@contextmanager
def quiet() -> Iterator[None]:
    """The same for what is written in Python, while others are at work."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
