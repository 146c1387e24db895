"""Runs modules of `dice_talk` that look at files, in child processes that may crash or hang."""

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
"""macOS's own frameworks don't survive a fork, and numpy uses one of them."""
ATTEMPTS = 3
"""When the process that forks has died, or somebody else killed the child."""
MAX_COMPLAINT = 4096


class ChildFailed(Exception):
    """The child process itself does not work; no file is to blame."""


class Children:
    """Starts them: those for which a client waits by a fork, the others as any program."""

    def __init__(self) -> None:
        self._first = ForkServer("dice_talk.intake", "dice_talk.digest", "dice_talk.verify")
        # OpenCV makes it twice as large, so it has a process of its own, from the first preflight on.
        preflight = ForkServer("dice_talk.preflight")
        self._servers = {module: server for server in (self._first, preflight) for module in server.modules if FORKS}

    async def start(self) -> None:
        """Makes ready for the first look at an upload. It need not be called, and need not succeed."""
        if FORKS:
            with suppress(OSError):
                await self._first.start()

    async def close(self) -> None:
        """Ends all that were forked."""
        for server in set(self._servers.values()):
            await server.close()

    def pids(self) -> list[int]:
        """Of the processes that fork."""
        return [server.pid for server in set(self._servers.values()) if server.pid]

    async def ask(self, module: str, *arguments: str, seconds: float) -> dict[str, Any]:
        """What `python -m module arguments` says on standard output, in JSON lines, before it ends.

        When it runs into a limit, or takes more than `seconds`, that is less than all. Raises `DiceTalkError` where it
        says that a file can't be used, `FileNotFoundError` where it says that one is not there, `ChildFailed` when the
        child is to blame, `Unavailable` when it was killed again and again.
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
    """What starts a child that is not forked."""
    return [sys.executable, "-m", module, *arguments]


async def _fork(server: ForkServer, module: str, arguments: tuple[str, ...], facts: Facts) -> None:
    for _ in range(ATTEMPTS):
        facts.clear()
        end = End.KILLED
        with suppress(OSError):  # no memory, no descriptors, or it dies this moment
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
    """Adds to `facts` what the child says. Cancelling ends it."""
    child = await processes.start(
        command, stdin=asyncio.subprocess.DEVNULL, limit=MAX_LINE, env=os.environ | ENVIRONMENT
    )
    complaints = asyncio.create_task(_read_tail(child.stderr))
    try:
        while child.stdout is not None and (line := await child.stdout.readline()):
            with suppress(ValueError):  # one that is cut off tells nothing
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
