"""`download`, `doctor` and `make-tiny-checkpoints`: the weights of the diffusion engine."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dice_talk.cli import codes
from dice_talk.cli.options import CHECKPOINTS
from dice_talk.cli.screen import paint, tell
from dice_talk.cli.words import for_people
from dice_talk.diffusion.files import HUB_FILES, OPTIONAL_FILES, REPOSITORIES
from dice_talk.engines import in_words
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

if TYPE_CHECKING:
    from dice_talk.diffusion import download as published

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


def _as_revisions(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Return the revision by repository. Raises `BadParameter`."""
    revisions = dict(one.partition("=")[::2] for one in given)
    for repository, revision in revisions.items():
        if repository not in REPOSITORIES or not revision:
            raise click.BadParameter(f"REPOSITORY=REVISION is wanted, of {in_words(REPOSITORIES)}")
    return revisions


@click.command
@CHECKPOINTS
@click.option("--yes", is_flag=True, help="Do not ask before downloading.")
@click.option(
    "--revision",
    "revisions",
    multiple=True,
    metavar="REPOSITORY=REVISION",
    callback=_as_revisions,
    help="Branch, tag or commit of a repository on the hub; default: its latest. May be given once for each.",
)
def download(checkpoints: Path, yes: bool, revisions: dict[str, str]) -> int:
    """Fetch the published checkpoints. An interrupted download resumes.

    Fetches again what is no longer what was downloaded, and compares with the hub what came another way.
    """
    from dice_talk.diffusion import download as published

    wanted = published.remotes(revisions)
    absent, changed = published.needed(checkpoints, wanted)
    for remote in changed:
        click.echo(f"{remote.path} is not what was downloaded, and is fetched again.", err=True)
    _compare(checkpoints, published.unverified(checkpoints, wanted))
    left, refused = published.describe_all([*absent, *changed])
    silent = _tell_refused(refused)
    if silent and not left:
        return codes.NOT_THERE
    ended = codes.FAILED if refused.keys() - set(OPTIONAL_FILES) else codes.DONE
    if not left:
        click.echo("Nothing can be fetched." if ended else f"Everything is there: {checkpoints}")
        return ended
    if not _agreed(checkpoints, left, yes):
        return codes.FAILED
    for remote in left:
        published.fetch(checkpoints, remote)
    if commits := {remote.repo: remote.commit for remote in left if remote.repo and remote.commit}:
        pins = " ".join(f"--revision {repository}={commit}" for repository, commit in commits.items())
        click.echo(f"To fetch the same elsewhere: dice-talk download {pins}")
    tell("Not all is there yet; see above." if ended else for_people("Done. To check everything: dice-talk doctor"))
    return ended


def _tell_refused(refused: "Mapping[str, published.DownloadFailed]") -> bool:
    """Say why files cannot be had. Returns whether a host does not answer."""
    from dice_talk.diffusion.download import HostUnreachable

    silent: dict[str, list[HostUnreachable]] = {}
    for path, error in refused.items():
        if isinstance(error, HostUnreachable):
            silent.setdefault(error.host, []).append(error)
        else:
            click.echo(f"can't be had  {path}  ({_optional(path)}{error}. {error.detail})", err=True)
    for host, errors in silent.items():
        click.echo(f"{host} can't be reached, where {len(errors)} files lie. {errors[0].detail}", err=True)
    return bool(silent)


def _compare(checkpoints: Path, unsure: "list[published.Remote]") -> None:
    """Compare files that came another way with the hub's."""
    from dice_talk.diffusion.download import DownloadFailed, describe_all, is_published

    described, refused = describe_all(unsure)
    for remote in described:
        try:
            same = is_published(checkpoints, remote)
        except DownloadFailed as error:
            refused[remote.path] = error
            continue
        if same is not None:
            words = "is the published file" if same else "is not the published file; to have that, delete this one"
            click.echo(f"{remote.path} {words}.", err=not same)
        else:
            click.echo(f"{remote.path} can't be compared: the hub does not say its checksum.", err=True)
    if refused:
        click.echo(f"{len(refused)} files that came another way can't be compared now: {', '.join(refused)}", err=True)


def _agreed(checkpoints: Path, left: "list[published.Remote]", yes: bool) -> bool:
    """List what is to be fetched, and ask. Raises `OSError` if it does not fit."""
    from dice_talk.diffusion.download import free_bytes

    for remote in left:
        click.echo(f"{_megabytes(remote.size):>12}  {remote.path}  ({remote.licence})")
    total, free = sum(remote.size or 0 for remote in left), free_bytes(checkpoints)
    click.echo(f"{_megabytes(total):>12}  in all, into {checkpoints}; {_megabytes(free)} are free there.")
    if total > free:
        raise OSError("That does not fit")
    return yes or click.confirm("Download?")


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
