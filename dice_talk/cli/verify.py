"""`verify`: which labels videos carry."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dice_talk.cli import codes
from dice_talk.cli.batch import facts_of
from dice_talk.cli.options import JSON
from dice_talk.cli.screen import quiet, silence_libraries, tell
from dice_talk.errors import DiceTalkError


@click.command
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@JSON
def verify(files: tuple[Path, ...], as_json: bool) -> int:
    """Say which labels videos carry.

    Whether they say that they are synthetic, and whether their signatures hold. Exit code 1 where a file can't be read
    or a signature is invalid.
    """
    silence_libraries()
    good = True
    for file in files:
        found = _found(file)
        good &= "error" not in found and (found["c2pa"] or {}).get("state") != "invalid"
        tell(json.dumps({"file": str(file), **found}) if as_json else _in_words(file, found))
    return codes.DONE if good else codes.FAILED


def _found(file: Path) -> dict[str, Any]:
    # Not imported above: the other commands need none of the packages that read video.
    with quiet():
        try:
            return asdict(importlib.import_module("dice_talk.labels.reading").read(file))
        except (DiceTalkError, OSError) as error:
            return facts_of(error)


def _in_words(file: Path, found: dict[str, Any]) -> str:
    if "error" in found:
        return f"{file}: {found['error']}. {found['detail'] or ''}".rstrip()
    return "\n".join([f"{file}:", *(f"  {line}" for line in _lines(found))])


def _lines(found: dict[str, Any]) -> list[str]:
    aigc, visible, signature = found["aigc"], found["visible_label"], found["c2pa"]
    return [
        f"AIGC: {json.dumps(aigc, ensure_ascii=False) if aigc else 'none'}",
        f"DigitalSourceType: {found['digital_source_type'] or 'none'}",
        f"visible label, as the file notes: {visible['text'] + ', ' + visible['shown'] if visible else 'none'}",
        f"C2PA: {_of_signature(signature) if signature else 'none'}",
    ]


def _of_signature(signature: dict[str, Any]) -> str:
    parts = (signature["signer"], signature["generator"], signature["digital_source_type"], *signature["problems"])
    return ", ".join([signature["state"], *(part for part in parts if part)])
