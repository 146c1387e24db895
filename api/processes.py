"""Starts and ends child processes completely, even if the caller is cancelled meanwhile.

When the server stops, requests are cancelled, and soon after that everything else. asyncio can then wait for ever: if
it is cancelled while it starts a process, it waits for pipes that it never connected. And an event loop that closes
while it still owns a process leaves that process and its pipes behind.
"""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

from api.threads import wait_to_the_end

PIPES_S = 1.0
"""How long the pipes of an ended process may stay open, which a process of another session can hold."""

_starting: set[asyncio.Task[Process]] = set()


async def start(command: list[str], *, stdin: int, **options: Any) -> Process:
    """Start a process in a session of its own, with pipes for its output. Raises `OSError`.

    The session keeps Ctrl-C in the terminal from reaching the process, and makes it one group to kill.
    """
    start = asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=PIPE, stderr=PIPE, start_new_session=True, **options
    )
    starting = asyncio.create_task(start)
    _starting.add(starting)
    starting.add_done_callback(_starting.discard)
    cancelled = await wait_to_the_end(lambda: asyncio.wait([starting]))
    if cancelled:
        if not starting.exception():
            await end(starting.result())
        raise cancelled
    return starting.result()


async def end(process: Process) -> None:
    """Kill a process, with any that it has started, and wait for its end."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if cancelled := await wait_to_the_end(lambda: _wait(process)):
        raise cancelled


async def _wait(process: Process) -> None:
    """Wait for the end of a process. asyncio's own `wait` also waits until its pipes are read to their ends."""
    ending = asyncio.ensure_future(process.wait())
    while not (await asyncio.wait([ending], timeout=PIPES_S))[0]:
        if process.returncode is not None:
            close_pipes(process)


def close_pipes(process: Process) -> None:
    """Close the pipes of an ended process. Those that it shares with a process of another session have no end."""
    process._transport.close()  # type: ignore[attr-defined]  # asyncio has no other way


async def wait_for_starts() -> None:
    """Wait until no process is being started. Needed before the event loop ends, which cancels forgotten tasks."""
    while _starting:
        await asyncio.wait(set(_starting))
