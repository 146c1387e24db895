"""`node`: makes this machine a node of a Ray cluster, which renders for a server."""

import json
import os
import re
import sys
from importlib.util import find_spec

import click

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable
from dice_talk.node import RESOURCE, clear_leftovers, default_base

ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--address", required=True, metavar="HOST:PORT", help="The cluster's head.")
@click.option(
    "--slots",
    type=click.IntRange(0, 1000),
    default=2,
    show_default=True,
    help="Videos rendered here at the same time; 0 for the server's machine.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[RAY'S OPTIONS]...")
def node(address: str, slots: int, options: tuple[str, ...]) -> int:
    """Render for a server on another machine.

    Joins a Ray cluster until stopped. All other options are those of `ray start`, such as --node-ip-address. Whoever
    reaches Ray's ports can run programs on this machine: see docs/scale.md.
    """
    if not ADDRESS.fullmatch(address):
        raise click.BadParameter(f"{address} is not HOST:PORT, as 10.0.0.5:6379 is", param_hint="'--address'")
    if find_spec("ray") is None:
        raise EngineUnavailable(ErrorCode.PACKAGE_MISSING, "ray is not installed", "Run: ./start_server.sh install ray")
    clear_leftovers(default_base())
    command = ray_start(address, slots, options)
    os.execv(command[0], command)  # noqa: S606 - there is no shell


def ray_start(address: str, slots: int, options: tuple[str, ...] = ()) -> list[str]:
    """Return the command that joins the cluster and stays in the foreground."""
    offered = json.dumps({RESOURCE: slots} if slots else {})
    program = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    return [*program, f"--address={address}", "--block", f"--resources={offered}", *options]
