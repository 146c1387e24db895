"""Commands for people: `python -m dice_talk download | doctor | make-tiny-checkpoints`."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dice_talk.diffusion import doctor
from dice_talk.diffusion.files import HUB_FILES
from dice_talk.errors import DiceTalkError, EngineUnavailable

CHECKPOINTS = Path("checkpoints")
_GRADE_WIDTH = max(len(grade) for grade in (doctor.GOOD, doctor.NOTE, doctor.BAD))


def main(arguments: list[str] | None = None) -> int:
    """Entry point: the exit code is 0 when all went well, 1 when there is a problem."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except DiceTalkError as error:
        _say(f"{error}. {error.detail or ''}")
    except KeyboardInterrupt:
        _say("\nStopped. Run the command again to go on from here.")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dice_talk", description="DICE-Talk's checkpoints")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, words in (
        ("download", _download, "fetch the published checkpoints"),
        ("doctor", _doctor, "say what is there, what is missing and what this machine can render"),
        ("make-tiny-checkpoints", _make_tiny, "write tiny random weights, to try the diffusion engine's path"),
    ):
        added = commands.add_parser(name, help=words, description=words)
        added.set_defaults(command=command)
        if name == "make-tiny-checkpoints":
            added.add_argument("folder", type=Path)
        else:
            added.add_argument("--checkpoints", dest="folder", type=Path, default=CHECKPOINTS)
        if name == "download":
            added.add_argument("--yes", action="store_true", help="do not ask before downloading")
    return parser


def _download(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    download = _part_of_the_engine("download")
    left = download.missing(folder, download.remotes())
    if not left:
        _say(f"Everything is there: {folder}")
        return 0
    for remote in left:
        _say(f"{_megabytes(remote.size):>12}  {remote.path}  ({remote.licence})")
    needed = sum(remote.size or 0 for remote in left)
    _say(f"{_megabytes(needed):>12}  in all, into {folder}; {_megabytes(download.free_bytes(folder))} are free there.")
    if needed > download.free_bytes(folder):
        _say("That does not fit.")
        return 1
    if not options.yes and input("Download? [y/N] ").strip().lower() not in ("y", "yes"):
        return 1
    for remote in left:
        download.fetch(folder, remote)
    _say("Done. To check everything: python -m dice_talk doctor")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    grades = set()
    for finding in doctor.examine(options.folder):
        grades.add(finding.grade)
        _say(f"{finding.grade:<{_GRADE_WIDTH}}  {finding.subject}: {finding.words}")
    return int(doctor.BAD in grades)


def _make_tiny(options: argparse.Namespace) -> int:
    published = {source.path for source in HUB_FILES}
    if any((options.folder / path).exists() for path in published):
        _say(f"There are checkpoints in {options.folder} already; name another folder.")
        return 1
    _part_of_the_engine("tiny").make_tiny_checkpoints(options.folder)
    _say(f"Tiny random weights are in {options.folder}. The videos they make show noise.")
    return 0


def _part_of_the_engine(name: str) -> Any:
    """A module of the diffusion engine, whose packages need not be installed. Raises `EngineUnavailable`."""
    try:
        return importlib.import_module(f"dice_talk.diffusion.{name}")
    except ModuleNotFoundError as error:
        raise EngineUnavailable(f"{error.name} is not installed", "Run: ./start_server.sh install diffusion") from error


def _megabytes(count: int | None) -> str:
    return "size unknown" if count is None else f"{count / 1e6:,.1f} MB"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
