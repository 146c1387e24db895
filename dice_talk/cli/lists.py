"""`emotions` and `engines`: the choices."""

import json
from pathlib import Path

import click

from dice_talk.cli.options import CHECKPOINTS, JSON
from dice_talk.cli.screen import complain
from dice_talk.emotions import Emotion
from dice_talk.engines import ENGINES, REFUSED, choose_engine, some_of
from dice_talk.errors import EngineUnavailable


@click.command
@JSON
def emotions(as_json: bool) -> None:
    """List the emotions."""
    for emotion in Emotion:
        click.echo(json.dumps({"emotion": emotion}) if as_json else emotion)


@click.command
@CHECKPOINTS
@JSON
def engines(checkpoints: Path, as_json: bool) -> None:
    """List the engines, and what they lack here.

    auto uses the one that is marked.
    """
    try:
        auto = choose_engine("auto", checkpoints)
    except EngineUnavailable:
        auto = None
    for name, spec in ENGINES.items():
        missing = spec.missing(checkpoints)
        if as_json:
            facts = {"engine": name, "available": not missing, "auto": name == auto, "missing": missing}
            click.echo(json.dumps(facts))
        else:
            words = f"missing: {some_of(missing)}" if missing else "available"
            click.echo(f"{name:<10} {words}{' (auto)' if name == auto else ''}")
    for refused in REFUSED:
        complain(str(refused))
