"""`preflight`: checks portraits and recordings."""

import base64
import importlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from dice_talk.atomic import atomic_write
from dice_talk.cli import codes
from dice_talk.cli.batch import Input, facts_of, refuse_existing, sorted_out
from dice_talk.cli.options import CHECKPOINTS, ENGINE, JSON, options_of, render_options
from dice_talk.cli.screen import paint, quiet, silence_libraries, tell
from dice_talk.cli.words import for_people
from dice_talk.emotions import Emotion
from dice_talk.engines import choose_engine
from dice_talk.errors import DiceTalkError
from dice_talk.options import PREFLIGHT_OPTIONS, RenderOptions


@click.command
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@options_of(RenderOptions, PREFLIGHT_OPTIONS)
@click.option(
    "--overlay",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to store a picture (JPEG) of the portrait with its faces and the crop. For one portrait.",
)
@click.option("-f", "--force", is_flag=True, help="Replace that picture if it is there already.")
@ENGINE
@CHECKPOINTS
@JSON
def preflight(
    files: tuple[str, ...],
    overlay: Path | None,
    force: bool,
    engine: str,
    checkpoints: Path,
    as_json: bool,
    **given: Any,
) -> int:
    """Check how well portraits and recordings will do.

    Says what would become of them and what could be better, without rendering. Exit code 1 if no video could be made.
    """
    options = render_options({"emotion": Emotion.NEUTRAL, **given})  # any will do
    silence_libraries()
    name, possible = choose_engine(engine, checkpoints), True
    with tempfile.TemporaryDirectory() as folder:
        portraits, speeches = sorted_out(files, Path(folder))
        if overlay:
            _refuse_overlay(overlay, portraits, force=force)
        for each in (*portraits, *speeches):
            found = _found(each, options, name, portrait=each in portraits)
            picture = found.pop("overlay", None)
            if overlay and picture:
                atomic_write(overlay, base64.b64decode(picture.partition(",")[2]))
                found["overlay"] = str(overlay)
            possible &= "error" not in found and not any(warning["blocking"] for warning in found["warnings"])
            tell(json.dumps({"file": each.typed, **found}) if as_json else _in_words(each, found))
    return codes.DONE if possible else codes.FAILED


def _refuse_overlay(overlay: Path, portraits: Sequence[Input], *, force: bool) -> None:
    if len(portraits) != 1:
        raise click.UsageError(f"--overlay is for one portrait, and there are {len(portraits)}")
    if not force:
        refuse_existing([overlay])


def _found(file: Input, options: RenderOptions, engine: str, *, portrait: bool) -> dict[str, Any]:
    # Not imported above: the other commands need none of the packages that read pictures and sound.
    with quiet():
        looking = importlib.import_module("dice_talk.preflight")
        try:
            found = looking.look_at(file.path, options, engine) if portrait else looking.listen_to(file.path, options)
        except DiceTalkError as error:
            return facts_of(error)
    return dict(found)


def _in_words(file: Input, found: Mapping[str, Any]) -> str:
    if "error" in found:
        return f"{file.name}: {for_people(found['error'])}. {for_people(found['detail'] or '')}".rstrip()
    if "faces" in found:
        faces, size = len(found["faces"]), found["output"]
        video = f", video {size['width']} x {size['height']}" if size else ""
        facts = f"{found['width']} x {found['height']}, {faces} face{'s' * (faces != 1)}{video}"
    else:
        facts = f"{found['seconds']:g} s, {found['used_seconds']:g} s used, level {found['level_dbfs']:g} dBFS"
    return "\n".join([f"{file.name}: {facts}", *map(_advice, found["warnings"])])


def _advice(warning: Mapping[str, Any]) -> str:
    colour = "red" if warning.get("blocking") else "yellow"
    return paint(f"  {for_people(warning['message'])}", colour, sys.stdout)
