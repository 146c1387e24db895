"""Runs modules of `dice_talk` that look at files, in child processes that may crash or hang."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from api import processes
from api.errors import QueueFull
from dice_talk.errors import DiceTalkError

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Children of one kind at the same time: more would only compete for the cores that render."""
WAIT_S = 600.0
"""For files that take all the time they may, sent by many, would keep everybody else waiting for as long."""
MAX_LINE = 1024 * 1024
"""Bytes; a small picture in base64 takes a tenth of it."""
MAX_COMPLAINT = 4096
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
"""With one for each thread, as is usual, a machine of many cores would map more than the children may."""


class ChildFailed(Exception):
    """The child process itself does not work; no file is to blame."""


class Places:
    """For children of one kind, a few at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around one child. Raises `QueueFull` after having waited for long."""
        try:
            with anyio.fail_after(WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise QueueFull("Too many files are being looked at", "Try again later.", {"Retry-After": "60"}) from None
        try:
            yield
        finally:
            self._free.release()


async def ask(module: str, *arguments: str, seconds: float) -> dict[str, Any]:
    """What `python -m module arguments` says on standard output, in JSON lines, before it ends.

    When it runs into a limit, or takes more than `seconds`, that is less than all. Raises `DiceTalkError` where it
    says that a file can't be used, `FileNotFoundError` where it says that one is not there, `ChildFailed` when the
    child is to blame.
    """
    facts: dict[str, Any] = {}
    for line in await _run(module, command(module, arguments), seconds):
        facts |= json.loads(line)
    if "error" in facts:
        raise DiceTalkError(facts["error"], facts["detail"])
    if "missing" in facts:
        raise FileNotFoundError(facts["missing"])
    return facts


def command(module: str, arguments: Sequence[str]) -> list[str]:
    """What starts a child."""
    return [sys.executable, "-m", module, *arguments]


async def _run(module: str, command: list[str], seconds: float) -> list[bytes]:
    """Whole lines of what the child said before it ended, by itself or by force."""
    child = await processes.start(
        command, stdin=asyncio.subprocess.DEVNULL, limit=MAX_LINE, env=os.environ | FEW_ARENAS
    )
    complaints = asyncio.create_task(_read_tail(child.stderr))
    lines: list[bytes] = []
    try:
        with anyio.fail_after(seconds):
            while child.stdout is not None and (line := await child.stdout.readline()):
                lines.extend([line] if line.endswith(b"\n") else ())  # one that is cut off tells nothing
            await child.wait()
    except TimeoutError:
        log.warning("%s took more than %g seconds", module, seconds)
    finally:
        await processes.end(child)
    tail = await complaints
    if child.returncode and child.returncode > 0 and b"MemoryError" not in tail:
        log.error("%s does not work: exit code %d\n%s", module, child.returncode, tail.decode("utf-8", "replace"))
        raise ChildFailed
    return lines


async def _read_tail(stream: asyncio.StreamReader | None) -> bytes:
    tail = b""
    while stream is not None and (chunk := await stream.read(65536)):
        tail = (tail + chunk)[-MAX_COMPLAINT:]
    return tail
