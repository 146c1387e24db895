"""Runs modules of `dice_talk` that look at files, in child processes that may crash or hang."""

import asyncio
import json
import logging
import os
import sys
from typing import Any

import anyio

from dice_talk.errors import DiceTalkError

log = logging.getLogger(__name__)

MAX_SAID = 1024 * 1024
"""Bytes; a small picture in base64 takes a tenth of it."""
MAX_COMPLAINT = 4096
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
"""With one for each thread, as is usual, a machine of many cores would map more than the children may."""


_alive: dict[asyncio.SubprocessTransport, asyncio.Future[None]] = {}
"""Children that run, and when they are gone; of all loops, for tests have several."""


class ChildFailed(Exception):
    """The child process itself does not work; no file is to blame."""


async def ask(module: str, *arguments: str, seconds: float) -> dict[str, Any]:
    """What `python -m module arguments` says on standard output, in JSON lines, before it ends.

    When it runs into a limit, or takes more than `seconds`, that is less than all. Raises `DiceTalkError` where it
    says that a file can't be used, `FileNotFoundError` where it says that one is not there, `ChildFailed` when the
    child is to blame.
    """
    facts: dict[str, Any] = {}
    for line in await _run(module, [sys.executable, "-m", module, *arguments], seconds):
        facts |= json.loads(line)
    if "error" in facts:
        raise DiceTalkError(facts["error"], facts["detail"])
    if "missing" in facts:
        raise FileNotFoundError(facts["missing"])
    return facts


async def _run(module: str, command: list[str], seconds: float) -> list[bytes]:
    """Whole lines of what the child said before it ended, by itself or by force."""
    loop = asyncio.get_running_loop()
    transport, talk = await loop.subprocess_exec(
        _Talk,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        env=os.environ | FEW_ARENAS,
        start_new_session=True,  # Ctrl-C in the terminal must not look like a file that cannot be read
    )
    _alive[transport] = talk.ended
    talk.ended.add_done_callback(lambda _: _alive.pop(transport))
    try:
        with anyio.fail_after(seconds):
            await asyncio.shield(talk.ended)
    except TimeoutError:
        log.warning("%s took more than %g seconds", module, seconds)
    finally:
        transport.close()  # which kills it; where we are cancelled, `end_all` waits until it is gone
    await asyncio.shield(talk.ended)
    code = transport.get_returncode()
    if code and code > 0 and b"MemoryError" not in talk.complaints:
        complaints = talk.complaints.decode("utf-8", "replace")
        log.error("%s does not work: exit code %d\n%s", module, code, complaints)
        raise ChildFailed
    return [line for line in talk.said.splitlines(keepends=True) if line.endswith(b"\n")]  # one cut off tells nothing


class _Talk(asyncio.SubprocessProtocol):
    """What a child says, and the end of its complaints."""

    def __init__(self) -> None:
        self.said, self.complaints = b"", b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Of standard output, or of standard error."""
        if fd == 1:
            self.said = (self.said + data)[:MAX_SAID]
        else:
            self.complaints = (self.complaints + data)[-MAX_COMPLAINT:]

    def connection_lost(self, error: Exception | None) -> None:
        """It has ended, and all that it said has arrived."""
        self.ended.set_result(None)


async def end_all() -> None:
    """Kills the children of this loop that are left, and waits until they are gone: then the loop may be closed."""
    loop = asyncio.get_running_loop()
    left = {transport: ended for transport, ended in _alive.items() if ended.get_loop() is loop}
    for transport in left:
        transport.close()
    await asyncio.gather(*left.values())
