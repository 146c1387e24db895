"""`node`: makes this machine a node of a Ray cluster, which renders for a server."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import click

from dice_talk.cli.screen import complain
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable
from dice_talk.node import DRAINING, NODE, RESOURCE, Scratch, is_rendering

ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
PAUSE_S, MOST_PAUSE_S, STEADY_S = 1.0, 30.0, 60.0
"""Pauses before the node joins again: the second figure at most, and the first after it has run for the third."""
QUIET_S = 5.0
"""A server may need half of that to notice that the node is drained, and may begin a render until then."""
LOOK_EVERY_S = 0.2
VARIABLES = {"RAY_worker_niceness": "0", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
"""Ray's workers watch over the engines and must not have the priority of these; and nothing runs any more when Ray is
told to end.
"""


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

    Joins a Ray cluster, and joins it again when its head was restarted. SIGTERM or Ctrl-C ends what is being rendered
    first; a second one does not wait. All other options are those of `ray start`, such as --node-ip-address. Whoever
    reaches Ray's ports can run programs on this machine: see docs/scale.md.
    """
    if not ADDRESS.fullmatch(address):
        raise click.BadParameter(f"{address} is not HOST:PORT, as 10.0.0.5:6379 is", param_hint="'--address'")
    if find_spec("ray") is None:
        raise EngineUnavailable(ErrorCode.PACKAGE_MISSING, "ray is not installed", "Run: ./start_server.sh install ray")
    return keep_running(ray_start(address, slots, options))


def ray_start(address: str, slots: int, options: tuple[str, ...] = ()) -> list[str]:
    """Return the command that joins the cluster and stays in the foreground."""
    offered = json.dumps({RESOURCE: slots} if slots else {})
    program = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    return [*program, f"--address={address}", "--block", f"--resources={offered}", *options]


def keep_running(command: list[str]) -> int:
    """Run a command, again after each end, until a signal. Then let renders end, and return its exit code."""
    signals: list[int] = []
    came = threading.Event()

    def note(number: int, _frame: object) -> None:
        signals.append(number)
        came.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    own, pause = Scratch(), PAUSE_S
    environment = {**VARIABLES, **os.environ, NODE: str(own.folder)}
    try:
        while not signals:
            began = time.monotonic()
            with subprocess.Popen(command, env=environment, start_new_session=True) as process:  # noqa: S603
                _wait(process, signals, own)
            if not signals:
                pause = PAUSE_S if time.monotonic() - began > STEADY_S else min(2 * pause, MOST_PAUSE_S)
                complain(f"Ray ended with code {process.returncode}; it is started again in {pause:g} s")
                came.wait(pause)
    finally:
        own.remove()
    return 128 + signals[0]


def _wait(process: "subprocess.Popen[bytes]", signals: list[int], own: Scratch) -> None:
    """Wait for the end of Ray. A signal ends it when nothing has been rendered for a while; a second one at once."""
    quiet_since = time.monotonic()
    while process.poll() is None:
        if not signals or is_rendering(own):
            quiet_since = time.monotonic()
        if signals and not (own.folder / DRAINING).exists():
            (own.folder / DRAINING).touch()
            complain("The node takes nothing new, and ends when nothing is rendered any more; again to stop now")
        if len(signals) > 1 or time.monotonic() - quiet_since > QUIET_S:
            process.terminate()
            process.wait()
        time.sleep(LOOK_EVERY_S)
