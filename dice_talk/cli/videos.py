"""`render` makes videos on this machine, `submit` through a server."""

import importlib
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import click

from dice_talk.cli.batch import SHEETS, STREAM, Results, Video, planned, refuse_existing, video_arguments
from dice_talk.cli.options import CHECKPOINTS, SERVER, checked, options_of, render_options
from dice_talk.cli.screen import Bars, complain, quiet, silence_libraries
from dice_talk.cli.words import for_people
from dice_talk.client import KEY_VARIABLE, Client, ClientError, ServerUnreachable, TaskFailed
from dice_talk.emotions import Emotion
from dice_talk.engine import Engine, Progress, RenderJob
from dice_talk.engines import ENGINES, choose_engine, in_words, load_engine
from dice_talk.labels import LabelOptions, Labels, signature
from dice_talk.options import MAX_SEED, RenderOptions
from dice_talk.outcomes import clean_result

_TOGETHER = 16
"""Tasks that are sent before waiting for the first: fewer than a server accepts for one key."""


@click.command
@video_arguments
@options_of(LabelOptions)
@CHECKPOINTS
def render(
    files: tuple[str, ...],
    output: str | None,
    force: bool,
    sheets: tuple[Path, ...],
    emotion: tuple[Emotion, ...],
    engine: str,
    as_json: bool,
    checkpoints: Path,
    **given: Any,
) -> int:
    """Make talking-head videos on this machine.

    Every portrait (JPEG, PNG) is rendered with every speech (WAV, MP3); - takes one of them from standard input.
    """
    labels = checked(LabelOptions, {name: given.pop(name) for name in LabelOptions.model_fields})
    options = _wanted({**given, "emotion": emotion[0]}, output, as_json)
    try:
        signature.refuse_unusable(labels)
    except signature.SigningError as error:
        raise click.UsageError(str(error)) from error
    silence_libraries()
    with planned(files, emotion, output, force=force) as videos, Bars() as bars:
        _refuse_sheets(sheets, videos, force=force)
        results = Results(bars, as_json=as_json)
        for video in videos:
            bars.show(video.name, 0, "Waiting...")
        with quiet():
            loaded = load_engine(choose_engine(engine, checkpoints), checkpoints)
        for video in videos:
            with results.of(video) as facts:
                facts |= _rendered(loaded, video, _for(video, options), labels, bars)
        results.show_together(sheets, force=force)
        return results.code


def _rendered(
    engine: Engine, video: Video, options: RenderOptions, chosen: LabelOptions, bars: Bars
) -> dict[str, object]:
    if options.seed is None:
        options = options.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})

    def report(progress: Progress) -> None:
        bars.show(video.name, progress.fraction, progress.message)

    with video.place() as path, quiet():
        labels = Labels.of(chosen, str(uuid.uuid4()), ENGINES[engine.name].source_type)
        job = RenderJob(video.portrait.path, video.speech.path, path, options, labels=labels)
        result = engine.render(job, report)
        # Not imported above: the other commands need none of the packages that read and write video.
        importlib.import_module("dice_talk.video").finish(job, result, engine.name)
    return {"engine": engine.name, "seed": options.seed, **clean_result(result)}


@click.command
@video_arguments
@SERVER
@click.option("--key", envvar=KEY_VARIABLE, show_envvar=True, help="API key, where the server needs one.")
def submit(
    files: tuple[str, ...],
    output: str | None,
    force: bool,
    sheets: tuple[Path, ...],
    emotion: tuple[Emotion, ...],
    engine: str,
    as_json: bool,
    server: str,
    key: str | None,
    **given: Any,
) -> int:
    """Make talking-head videos through a server.

    Takes the same arguments as render. Ctrl-C cancels what the server has not finished.
    """
    options = _wanted({**given, "emotion": emotion[0]}, output, as_json)
    with (
        planned(files, emotion, output, force=force) as videos,
        Bars() as bars,
        Client(server, key, waiting=cache(partial(complain, colour="yellow"))) as client,
    ):
        _refuse_sheets(sheets, videos, force=force)
        results = Results(bars, as_json=as_json)
        for start in range(0, len(videos), _TOGETHER):
            _send_and_fetch(client, videos[start : start + _TOGETHER], engine, options, bars, results)
        results.show_together(sheets, force=force)
        return results.code


def _send_and_fetch(
    client: Client, videos: list[Video], engine: str, options: RenderOptions, bars: Bars, results: Results
) -> None:
    with _called_off(client) as tasks:
        for video in videos:
            with results.of(video):
                bars.show(video.name, 0, "Sending...")
                fields = _for(video, options).model_dump(mode="json", exclude_defaults=True)
                task = client.submit(video.portrait.path, video.speech.path, engine=engine, **fields)
                tasks[task.task_id] = video
                for warning in task.warnings:
                    complain(f"{video.name}: {for_people(warning['message'])}", "yellow")
        for state in client.follow(*tasks):
            video = tasks[state.task_id]
            bars.show(video.name, state.progress, state.message)
            if not state.ended:
                continue
            with results.of(video) as facts:
                if state.status == "FAILED":
                    raise TaskFailed(state)
                with video.place() as path:
                    client.download(state.task_id, path)
                facts |= {"task_id": state.task_id, "engine": state.engine, "seed": state.seed}
                facts |= {"seconds": state.duration}
            del tasks[state.task_id]


@contextmanager
def _called_off(client: Client) -> Iterator[dict[str, Video]]:
    """Collect tasks by id. If the command is stopped, those that are left are cancelled, or else named."""
    tasks: dict[str, Video] = {}
    try:
        yield tasks
    except BaseException as stopped:
        left = [task for task in tasks if isinstance(stopped, ServerUnreachable) or not _cancelled(client, task)]
        if left:
            complain(f"Still at the server: {', '.join(left)}")
        raise


def _cancelled(client: Client, task_id: str) -> bool:
    try:
        client.cancel(task_id)
    except ClientError:
        return False
    return True


def _for(video: Video, options: RenderOptions) -> RenderOptions:
    return options.model_copy(update={"emotion": video.emotion})


def _refuse_sheets(sheets: tuple[Path, ...], videos: list[Video], *, force: bool) -> None:
    """Raises `UsageError` for sheets that cannot be made of these videos."""
    for sheet in sheets:
        if sheet.suffix.lower() not in SHEETS:
            raise click.UsageError(f"--sheet {sheet} must end in {in_words(SHEETS)}")
        if not sheet.absolute().parent.is_dir():
            raise click.UsageError(f"There is no folder {sheet.parent}")
    if sheets and (len({(video.portrait, video.speech) for video in videos}) > 1 or videos[0].output is None):
        raise click.UsageError("--sheet is for the emotions of one portrait and one recording, stored in files")
    if not force:
        refuse_existing(sheets)


def _wanted(given: dict[str, Any], output: str | None, as_json: bool) -> RenderOptions:
    if output == STREAM and as_json:
        raise click.UsageError("Standard output takes the video or --json, not both")
    return render_options(given)
