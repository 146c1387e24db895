"""Child processes that start and end whole, whatever is cancelled meanwhile.

When the server stops, requests are cancelled, and soon after that everything that is left. asyncio can then wait for
ever: cancelled while it starts a process, it waits for pipes that it never connected. And an event loop that closes
while a process is still its own leaves that process and its pipes behind.
"""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio

_starting: set[asyncio.Task[Process]] = set()


async def start(command: list[str], *, stdin: int, **options: Any) -> Process:
    """Starts a process in a session of its own, with pipes for what it says. Raises `OSError`.

    The session: Ctrl-C in the terminal is the service's to handle; and there is one group to kill.
    """
    start = asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=PIPE, stderr=PIPE, start_new_session=True, **options
    )
    starting = asyncio.create_task(start)
    _starting.add(starting)
    starting.add_done_callback(_starting.discard)
    cancelled = await _insist(lambda: asyncio.wait([starting]))
    if cancelled:
        if not starting.exception():
            await end(starting.result())
        raise cancelled
    return starting.result()


async def end(process: Process) -> None:
    """Kills a process, with any that it has started, and waits for its end."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if cancelled := await _insist(process.wait):
        raise cancelled


async def settled() -> None:
    """Waits until none is being started. Before the event loop ends, which cancels what nobody waits for."""
    while _starting:
        await asyncio.wait(set(_starting))


async def _insist(wait: Callable[[], Awaitable[object]]) -> asyncio.CancelledError | None:
    """Waits to the end, again after each time it is cancelled; gives the last time."""
    cancelled = None
    while True:
        try:
            with anyio.CancelScope(shield=True):  # anyio cancels again and again
                await wait()
            return cancelled
        except asyncio.CancelledError as error:
            cancelled = error
