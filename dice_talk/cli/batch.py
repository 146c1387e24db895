"""Which videos a command makes, where they go, and the outcome of each."""

import importlib
import json
import mimetypes
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import click

from dice_talk.atomic import atomic_path
from dice_talk.cli import codes
from dice_talk.cli.options import EMOTIONS, ENGINE, JSON, PRESET, Command, options_of
from dice_talk.cli.screen import Bars, complain, explain, quiet, tell
from dice_talk.client import ServerUnreachable
from dice_talk.emotions import Emotion
from dice_talk.engines import some_of
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, file_facts
from dice_talk.kinds import HEAD_BYTES, Family, kind_of
from dice_talk.options import RenderOptions
from dice_talk.outcomes import clean_error

STREAM = "-"
SHEETS = (".jpg", ".jpeg", ".png", ".mp4")
"""What a sheet may be named."""
_DECORATORS: tuple[Callable[[Any], Any], ...] = (
    click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="PORTRAIT... SPEECH..."),
    click.option(
        "-o",
        "--output",
        type=click.Path(),
        metavar="PATH",
        help="The video, a folder, or - for standard output. Default: PORTRAIT-SPEECH-EMOTION.mp4 here.",
    ),
    click.option("-f", "--force", is_flag=True, help="Replace videos that are there already."),
    click.option(
        "--sheet",
        "sheets",
        type=click.Path(path_type=Path, dir_okay=False),
        multiple=True,
        metavar="FILE",
        help="Also put the videos side by side: a picture (.jpg, .png) or a clip (.mp4). May be given several times.",
    ),
    EMOTIONS,
    options_of(RenderOptions, [name for name in RenderOptions.model_fields if name != "emotion"]),
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
    emotion: Emotion
    output: Path | None  # None: standard output
    force: bool
    alone: bool = True  # whether the portrait and the recording get no other emotion

    @property
    def name(self) -> str:
        """The name to show."""
        return f"{self.portrait.name} + {self.speech.name}" + ("" if self.alone else f", {self.emotion}")

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
def planned(
    files: Sequence[str], emotions: Sequence[Emotion], output: str | None, *, force: bool
) -> Iterator[list[Video]]:
    """Plan a video of every portrait with every recording and emotion. Raises `UsageError` before anything is begun.

    A file that begins like a picture of any kind is a portrait, whatever its name. Every other file is a recording,
    unless it is named like a picture and is no sound: then it is a broken picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        portraits, speeches = sorted_out(files, Path(folder))
        if not portraits:
            raise click.UsageError(f"A portrait is missing: {_listed(speeches)} no picture")
        if not speeches:
            raise click.UsageError(f"A speech recording is missing: {_listed(portraits)} no sound")
        wanted = list(product(portraits, speeches, emotions))
        outputs = _outputs(wanted, output)
        if not force:
            refuse_existing(path for path in outputs if path)
        alone = len(emotions) == 1
        yield [Video(*each, path, force, alone) for each, path in zip(wanted, outputs, strict=True)]


def refuse_existing(paths: Iterable[Path]) -> None:
    """Raises `UsageError` if a file is there that would be replaced."""
    if there := [str(path) for path in paths if path.exists()]:
        raise click.UsageError(f"There already: {', '.join(there)}. --force replaces")


def _listed(files: Sequence[Input]) -> str:
    return f"{some_of([file.name for file in files])} {'is' if len(files) == 1 else 'are'}"


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
            family = getattr(kind_of(file.read(HEAD_BYTES)), "family", None)
    except OSError as error:
        raise click.UsageError(explain(error)) from error
    named_like_one = (mimetypes.guess_type(path.name)[0] or "").startswith("image/")
    return family is Family.PICTURE or (named_like_one and family is not Family.SOUND)


def _outputs(wanted: list[tuple[Input, Input, Emotion]], output: str | None) -> list[Path | None]:
    if output == STREAM:
        if len(wanted) > 1:
            raise click.UsageError(f"{len(wanted)} videos do not fit into one stream; name a folder with -o")
        if sys.stdout.isatty():
            raise click.UsageError("A terminal shows no video; redirect it, or name a file with -o")
        return [None]
    folder = Path(output or ".")
    a_file = output is not None and not (folder.is_dir() or output.endswith(os.sep))
    if a_file and len(wanted) > 1 and folder.suffix == ".mp4":
        raise click.UsageError(f"{len(wanted)} videos do not fit into one file; name a folder with -o")
    if a_file and len(wanted) == 1:
        if not folder.parent.is_dir():
            raise click.UsageError(f"There is no folder {folder.parent}")
        return [folder]
    names = [
        f"{Path(portrait.name).stem}-{Path(speech.name).stem}-{emotion}.mp4" for portrait, speech, emotion in wanted
    ]
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

    def __init__(self, bars: Bars, *, as_json: bool) -> None:
        self.code = codes.DONE
        self.made: list[Video] = []
        self._bars, self._as_json = bars, as_json

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
            complain(f"{_at_fault(video, error)}: {explain(error)}")
            self._tell(video, facts_of(error))
        else:
            if facts:
                self.made.append(video)
                self._bars.show(video.name, 1, "done")
                self._tell(video, {"output": str(video.output or STREAM), **facts})

    def show_together(self, sheets: Sequence[Path], *, force: bool) -> None:
        """Put the videos that were made side by side."""
        videos = {video.emotion.value: video.output for video in self.made if video.output}
        for sheet in sheets if videos else ():
            with quiet():
                # Not imported above: the other commands need none of the packages that read and write video.
                importlib.import_module("dice_talk.sheet").make_sheet(videos, sheet, force=force)
            tell(json.dumps({"sheet": str(sheet), "emotions": [*videos]}) if self._as_json else str(sheet))

    def _tell(self, video: Video, facts: dict[str, object]) -> None:
        if self._as_json:
            named = {"portrait": video.portrait.typed, "speech": video.speech.typed, "emotion": video.emotion}
            tell(json.dumps(named | facts))
        elif video.output and "output" in facts:
            tell(str(video.output))


_OF_PORTRAIT = {ErrorCode.NO_FACE, ErrorCode.FACE_UNCLEAR, ErrorCode.NO_SUCH_FACE}


def _at_fault(video: Video, error: Exception) -> str:
    """Return the name of the file that an error is about, or that of the video."""
    code = getattr(error, "code", "")
    if code in _OF_PORTRAIT or str(code).startswith("image_"):
        return video.portrait.name
    return video.speech.name if str(code).startswith("audio_") else video.name


def facts_of(error: DiceTalkError | OSError) -> dict[str, Any]:
    """Return what is known of an error, ready for JSON, whatever an engine has put into it."""
    if isinstance(error, OSError):
        return file_facts(error)
    code = getattr(error, "code", None)
    return clean_error(error) | ({"code": code.value} if isinstance(code, ErrorCode) else {})
