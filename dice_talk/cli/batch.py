"""Which videos a command makes, where they go, and the outcome of each."""

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import click

from dice_talk.atomic import atomic_path
from dice_talk.cli import codes
from dice_talk.cli.options import ENGINE, JSON, PRESET, Command, options_of
from dice_talk.cli.screen import Bars, complain, explain, tell
from dice_talk.client import ServerUnreachable
from dice_talk.errors import DiceTalkError, file_facts
from dice_talk.kinds import HEAD_BYTES, Family, kind_of
from dice_talk.options import RenderOptions

STREAM = "-"
_DECORATORS: tuple[Callable[[Any], Any], ...] = (
    click.argument("files", nargs=-1, required=True, metavar="PORTRAIT... SPEECH..."),
    click.option(
        "-o",
        "--output",
        metavar="PATH",
        help="The video, a folder, or - for standard output. Default: PORTRAIT-SPEECH-EMOTION.mp4 here.",
    ),
    click.option("-f", "--force", is_flag=True, help="Replace videos that are there already."),
    options_of(RenderOptions),
    PRESET,
    ENGINE,
    JSON,
)


def video_arguments(command: Command) -> Command:
    """Add the arguments of every command that makes videos."""
    return reduce(lambda decorated, decorate: decorate(decorated), reversed(_DECORATORS), command)


@dataclass(frozen=True)
class Input:
    """A portrait or a recording: what was typed, and the path of the file."""

    typed: str
    path: Path

    @property
    def name(self) -> str:
        """The name to show."""
        return "stdin" if self.typed == STREAM else self.path.name


@dataclass(frozen=True)
class Video:
    """One video to make."""

    portrait: Input
    speech: Input
    output: Path | None  # None: standard output
    force: bool

    @property
    def name(self) -> str:
        """The name to show."""
        return f"{self.portrait.name} + {self.speech.name}"

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Provide a path to write to. The file is moved to its destination once it is complete."""
        if self.output:
            with atomic_path(self.output, overwrite=self.force) as path:
                yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            yield (path := Path(folder) / "video.mp4")
            with path.open("rb") as video, os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
                shutil.copyfileobj(video, out)


@contextmanager
def planned(files: Sequence[str], emotion: str, output: str | None, *, force: bool) -> Iterator[list[Video]]:
    """Plan a video of every portrait with every recording. Raises `UsageError` before anything is begun.

    A file that begins like a picture of any kind is a portrait, whatever its name. Every other file is a recording.
    """
    with tempfile.TemporaryDirectory() as folder:
        portraits, speeches = sorted_out(files, Path(folder))
        if not portraits:
            raise click.UsageError("A portrait is missing: none of the files is a picture")
        if not speeches:
            raise click.UsageError("A speech recording is missing: all of the files are pictures")
        pairs = [(portrait, speech) for portrait in portraits for speech in speeches]
        outputs = _outputs(pairs, emotion, output)
        if not force and (there := [str(path) for path in outputs if path and path.exists()]):
            raise click.UsageError(f"There already: {', '.join(there)}. --force replaces")
        yield [Video(*pair, path, force) for pair, path in zip(pairs, outputs, strict=True)]


def sorted_out(files: Sequence[str], folder: Path) -> tuple[list[Input], list[Input]]:
    """Return portraits and recordings. Standard input is stored in `folder`. Raises `UsageError`."""
    inputs = [Input(typed, _from_stdin(folder) if typed == STREAM else Path(typed)) for typed in _checked(files)]
    portraits = [each for each in inputs if _is_picture(each.path)]
    return portraits, [each for each in inputs if each not in portraits]


def _checked(files: Sequence[str]) -> Sequence[str]:
    for name, count in Counter(files).items():
        if count > 1:
            raise click.UsageError(f"{'Standard input' if name == STREAM else name} is named {count} times")
    return files


def _from_stdin(folder: Path) -> Path:
    path = folder / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD_BYTES))
            return kind is not None and kind.family is Family.PICTURE
    except OSError as error:
        raise click.UsageError(explain(error)) from error


def _outputs(pairs: list[tuple[Input, Input]], emotion: str, output: str | None) -> list[Path | None]:
    if output == STREAM:
        if len(pairs) > 1:
            raise click.UsageError(f"{len(pairs)} videos do not fit into one stream; name a folder with -o")
        if sys.stdout.isatty():
            raise click.UsageError("A terminal shows no video; redirect it, or name a file with -o")
        return [None]
    folder = Path(output or ".")
    if output and len(pairs) == 1 and not (folder.is_dir() or output.endswith(os.sep)):
        if not folder.parent.is_dir():
            raise click.UsageError(f"There is no folder {folder.parent}")
        return [folder]
    names = [f"{Path(portrait.name).stem}-{Path(speech.name).stem}-{emotion}.mp4" for portrait, speech in pairs]
    if len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        raise click.UsageError(f"{count} videos would be called {name}; rename the files, or make one after the other")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(explain(error)) from error
    return [folder / name for name in names]


class Results:
    """Reports the outcome of each video, and keeps the exit code."""

    def __init__(self, bars: Bars, emotion: str, *, as_json: bool) -> None:
        self.code = codes.DONE
        self._bars, self._emotion, self._as_json = bars, emotion, as_json

    @contextmanager
    def of(self, video: Video) -> Iterator[dict[str, object]]:
        """Provide a dictionary for the facts of a video. A failure is reported, and the next video goes on."""
        facts: dict[str, object] = {}
        try:
            yield facts
        except ServerUnreachable:  # the others would fare no better
            raise
        except (DiceTalkError, OSError) as error:
            self.code = self.code or codes.code_of(error)
            self._bars.show(video.name, 0, "failed")
            complain(f"{video.name}: {explain(error)}")
            facts = error.facts() if isinstance(error, DiceTalkError) else file_facts(error)
            self._tell(video, facts | {"error": str(error)})
        else:
            if facts:
                self._bars.show(video.name, 1, "done")
                self._tell(video, {"output": str(video.output or STREAM), **facts})

    def _tell(self, video: Video, facts: dict[str, object]) -> None:
        if self._as_json:
            named = {"portrait": video.portrait.typed, "speech": video.speech.typed, "emotion": self._emotion}
            tell(json.dumps(named | facts))
        elif video.output and "output" in facts:
            tell(str(video.output))
