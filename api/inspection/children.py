"""Runs modules of `dice_talk` that inspect files, in child processes that may crash or hang."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio

from api import processes
from api.errors import Unavailable
from api.inspection.forkserver import ENVIRONMENT, MAX_LINE, Facts, ForkServer
from dice_talk.child import End
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError

log = logging.getLogger(__name__)

FORKS = sys.platform == "linux"
"""macOS's own frameworks, one of which numpy uses, do not survive a fork."""
ATTEMPTS = 3
"""Attempts, if the fork server or the child is killed by something else."""
MAX_COMPLAINT = 4096


class ChildFailed(Exception):
    """The child process itself does not work. No file is to blame."""


class Children:
    """Starts child processes: by a fork if a client waits for them, otherwise as a new program."""

    def __init__(self) -> None:
        self._first = ForkServer("dice_talk.intake", "dice_talk.digest", "dice_talk.verify")
        # OpenCV doubles its memory, so it is a process of its own, started by the first preflight.
        preflight = ForkServer("dice_talk.preflight")
        self._servers = {module: server for server in (self._first, preflight) for module in server.modules if FORKS}

    async def start(self) -> None:
        """Start the fork server, so that the first upload need not wait for it. Optional, and may fail."""
        if FORKS:
            with suppress(OSError):
                await self._first.start()

    async def close(self) -> None:
        """End the fork servers and their children."""
        for server in set(self._servers.values()):
            await server.close()

    def pids(self) -> list[int]:
        """Return the process ids of the fork servers."""
        return [server.pid for server in set(self._servers.values()) if server.pid]

    async def ask(self, module: str, *arguments: str, seconds: float) -> dict[str, Any]:
        """Run `python -m module arguments` and return the JSON lines on its standard output, merged.

        The result is incomplete if the child runs into a limit or takes more than `seconds`. Raises `DiceTalkError` if
        the child reports that a file cannot be used, `FileNotFoundError` if it reports that a file is missing,
        `ChildFailed` if the child itself fails, and `Unavailable` if it is killed again and again.
        """
        facts: Facts = {}
        with anyio.move_on_after(seconds) as limit:
            if server := self._servers.get(module):
                await _fork(server, module, arguments, facts)
            else:
                await _start(module, command(module, arguments), facts)
        if limit.cancelled_caught:
            log.warning("%s took more than %g seconds", module, seconds)
        if "error" in facts:
            raise DiceTalkError.from_facts(facts)
        if "missing" in facts:
            raise FileNotFoundError(facts["missing"])
        return facts


def command(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a child that is not forked."""
    return [sys.executable, "-m", module, *arguments]


async def _fork(server: ForkServer, module: str, arguments: tuple[str, ...], facts: Facts) -> None:
    for _ in range(ATTEMPTS):
        facts.clear()
        end = End.KILLED
        with suppress(OSError):  # no memory, no descriptors, or it is just dying
            end = await server.run(module, arguments, facts) or End.KILLED
        if end is End.FAILED:
            log.error("%s does not work:\n%s", module, facts.get("traceback"))
            raise ChildFailed
        if end is not End.KILLED:
            return
        log.warning("%s was killed", module)
    if server.broken:
        log.error("%s does not work:\n%s", module, "\n".join(server.last_words))
        raise ChildFailed
    raise Unavailable(
        ErrorCode.INSPECTION_FAILED,
        "The files could not be looked at",
        "Something ends the processes that do it, for lack of memory perhaps. Try again later.",
        {"Retry-After": "30"},
    )


async def _start(module: str, command: list[str], facts: Facts) -> None:
    """Add what the child reports to `facts`. Cancelling ends the child."""
    child = await processes.start(
        command, stdin=asyncio.subprocess.DEVNULL, limit=MAX_LINE, env=os.environ | ENVIRONMENT
    )
    complaints = asyncio.create_task(_read_tail(child.stderr))
    try:
        while child.stdout is not None and (line := await child.stdout.readline()):
            with suppress(ValueError):  # a truncated line
                facts |= json.loads(line)
        await child.wait()
    finally:
        await processes.end(child)
    tail = await complaints
    if child.returncode and child.returncode > 0 and b"MemoryError" not in tail:
        log.error("%s does not work: exit code %d\n%s", module, child.returncode, tail.decode("utf-8", "replace"))
        raise ChildFailed


async def _read_tail(stream: asyncio.StreamReader | None) -> bytes:
    tail = b""
    while stream is not None and (chunk := await stream.read(65536)):
        tail = (tail + chunk)[-MAX_COMPLAINT:]
    return tail
