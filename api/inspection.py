"""Runs `dice_talk.intake`: the first decoding of an upload, in a child process that may crash or hang."""

import asyncio
import json
import logging
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from api.errors import QueueFull
from dice_talk.errors import DiceTalkError, InvalidAudio, InvalidImage
from dice_talk.options import MAX_DURATION_S

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
MAX_COMPLAINT = 4096
WAIT_S = 120.0
"""For files that take all the time they may, sent by many, would keep everybody else waiting for as long."""
AT_ONCE = 2
"""Children at the same time: more would only compete for the cores that render."""


class InspectionFailed(Exception):
    """The child process itself does not work; no file is to blame."""


@dataclass(frozen=True)
class Inputs:
    """What an upload holds."""

    width: int  # pixels, upright
    height: int
    seconds: float  # of audio, at most 300


class Inspector:
    """Inspects uploads, a few at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def inspect(self, image: Path, audio: Path) -> Inputs:
        """Raises `DiceTalkError` for whichever file can't be used, `InspectionFailed` when the child is to blame, or
        `QueueFull` after having waited for long.
        """
        try:
            with anyio.fail_after(WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise QueueFull("Too many uploads are being looked at", "Try again later.", {"Retry-After": "60"}) from None
        try:
            # The length is told, not imported there: pydantic alone would take a third of the child's time.
            lines = await _run([sys.executable, "-m", "dice_talk.intake", str(image), str(audio), str(MAX_DURATION_S)])
        finally:
            self._places.release()
        facts: dict[str, Any] = {}
        for line in lines:
            facts |= json.loads(line)
        if "error" in facts:
            raise DiceTalkError(facts["error"], facts["detail"])
        if "width" not in facts:
            raise InvalidImage("The image can't be decoded", "Reading it took too much memory or time.")
        if "seconds" not in facts:
            raise InvalidAudio("The audio can't be decoded", "Reading it took too much memory or time.")
        return Inputs(**facts)


async def _run(command: list[str]) -> list[bytes]:
    """Whole lines of what the child said before it ended, by itself or by force."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,  # Ctrl-C in the terminal must not look like a file that cannot be read
    )
    complaints = asyncio.create_task(_read_tail(child.stderr))
    lines: list[bytes] = []
    try:
        with anyio.fail_after(TIMEOUT_S):
            while child.stdout is not None and (line := await child.stdout.readline()):
                lines.append(line)
            await child.wait()
    except TimeoutError:
        log.warning("An upload took more than %g seconds to inspect", TIMEOUT_S)
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    tail = await complaints
    if child.returncode and child.returncode > 0 and b"MemoryError" not in tail:
        log.error(
            "The inspection of uploads does not work: exit code %d\n%s",
            child.returncode,
            tail.decode("utf-8", "replace"),
        )
        raise InspectionFailed
    return lines


async def _read_tail(stream: asyncio.StreamReader | None) -> bytes:
    tail = b""
    while stream is not None and (chunk := await stream.read(65536)):
        tail = (tail + chunk)[-MAX_COMPLAINT:]
    return tail
