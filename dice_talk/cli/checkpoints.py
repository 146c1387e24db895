"""`download`, `doctor` and `make-tiny-checkpoints`: the weights of the diffusion engine."""

import importlib
import sys
from pathlib import Path

import click

from dice_talk.cli import codes
from dice_talk.cli.options import CHECKPOINTS
from dice_talk.cli.screen import paint, tell
from dice_talk.cli.words import for_people
from dice_talk.diffusion.files import HUB_FILES, OPTIONAL_FILES
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command
@CHECKPOINTS
@click.option("--yes", is_flag=True, help="Do not ask before downloading.")
def download(checkpoints: Path, yes: bool) -> int:
    """Fetch the published checkpoints. An interrupted download resumes."""
    from dice_talk.diffusion import download as published

    left, refused = published.missing(checkpoints, published.remotes())
    silent: dict[str, list[published.HostUnreachable]] = {}
    for path, error in refused.items():
        if isinstance(error, published.HostUnreachable):
            silent.setdefault(error.host, []).append(error)
        else:
            click.echo(f"can't be had  {path}  ({_optional(path)}{error}. {error.detail})", err=True)
    for host, errors in silent.items():
        click.echo(f"{host} can't be reached, where {len(errors)} files lie. {errors[0].detail}", err=True)
    if silent and not left:
        return codes.NOT_THERE
    ended = codes.FAILED if refused.keys() - set(OPTIONAL_FILES) else codes.DONE
    if not left:
        click.echo("Nothing can be fetched." if ended else f"Everything is there: {checkpoints}")
        return ended
    for remote in left:
        click.echo(f"{_megabytes(remote.size):>12}  {remote.path}  ({remote.licence})")
    needed, free = sum(remote.size or 0 for remote in left), published.free_bytes(checkpoints)
    click.echo(f"{_megabytes(needed):>12}  in all, into {checkpoints}; {_megabytes(free)} are free there.")
    if needed > free:
        raise OSError("That does not fit")
    if not yes and not click.confirm("Download?"):
        return codes.FAILED
    for remote in left:
        published.fetch(checkpoints, remote)
    tell("Not all is there yet; see above." if ended else for_people("Done. To check everything: dice-talk doctor"))
    return ended


@click.command
@CHECKPOINTS
def doctor(checkpoints: Path) -> int:
    """Report what is installed and what is missing.

    And what this machine can render.
    """
    from dice_talk import doctor as examiner

    grades = set()
    for finding in examiner.examine(checkpoints):
        grades.add(finding.grade)
        grade = paint(f"{finding.grade:<{len(examiner.BAD)}}", COLOURS[finding.grade], sys.stdout)
        tell(f"{grade}  {finding.subject}: {for_people(finding.words)}")
    return codes.FAILED if examiner.BAD in grades else codes.DONE


@click.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def make_tiny_checkpoints(folder: Path) -> int:
    """Write tiny random weights to FOLDER.

    To try the diffusion engine's path.
    """
    if any((folder / source.path).exists() for source in HUB_FILES):
        raise click.UsageError(f"There are checkpoints in {folder} already; name another folder")
    try:
        tiny = importlib.import_module("dice_talk.diffusion.tiny")
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            ErrorCode.PACKAGE_MISSING, f"{error.name} is not installed", "Run: ./start_server.sh install diffusion"
        ) from error
    tiny.make_tiny_checkpoints(folder)
    click.echo(f"Tiny random weights are in {folder}. The videos they make show noise.")
    return codes.DONE


def _optional(path: str) -> str:
    return "optional: " if path in OPTIONAL_FILES else ""


def _megabytes(count: int | None) -> str:
    return "size unknown" if count is None else f"{count / 1e6:,.1f} MB"
