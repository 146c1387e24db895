"""Controls the process that forks children for inspections. `dice_talk.forkserver` defines the messages."""

import asyncio
import json
import logging
import os
import socket
import sys
from asyncio.subprocess import Process
from collections import deque
from contextlib import suppress
from typing import Any

import anyio

from api import processes
from dice_talk.child import End

log = logging.getLogger(__name__)

MAX_LINE = 1024 * 1024
"""Bytes. A small picture in base64 takes a tenth of this."""
END_S = 2.0
"""The longest time between the end of a connection and the end of its child."""
LAST_WORDS = 20
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
"""With one memory arena per thread, the default, a machine of many cores would map more than the children may. And a
process that forks must have only one thread.
"""

Facts = dict[str, Any]


class ForkServer:
    """Starts the process, and restarts it if it has died."""

    def __init__(self, *modules: str) -> None:
        """`modules`: the modules that it can run."""
        self.modules = modules
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._command: list[str] = []
        self._starting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)

    @property
    def pid(self) -> int | None:
        """The process id, while the process runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def broken(self) -> bool:
        """Whether the process ended with an error, which means that it cannot import its modules."""
        return self._process is not None and (self._process.returncode or 0) > 0

    async def start(self) -> None:
        """Start the process unless it runs. Returns before its imports are done. Raises `OSError`."""
        command = [sys.executable, "-m", "dice_talk.forkserver", *self.modules]
        async with self._starting:
            if self.pid and command == self._command:
                return
            await self._stop()
            control, theirs = socket.socketpair()
            with theirs:
                env = os.environ | ENVIRONMENT
                try:
                    self._process = await processes.start(command, stdin=theirs.fileno(), env=env)
                except BaseException:
                    control.close()
                    raise
            self._control, self._command = control, command
            self._reading = asyncio.create_task(self._log_stderr(self._process))

    async def run(self, module: str, arguments: tuple[str, ...], facts: Facts) -> End | None:
        """Fork a child and add what it reports to `facts`. Returns how the child ended, or None if that is not known.

        Cancelling ends the child. Raises `OSError` if the process cannot be started or reached.
        """
        await self.start()
        process = self._process
        try:
            ours = self._request([module, *arguments])
        except OSError:
            await self._give_up(process)
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE)
        try:
            await _read(reader, facts)
        finally:
            await self._end(reader, writer, process)
        if end := facts.pop("ended", None):
            return End(end)
        await self._give_up(process)  # it is dying, or hangs
        return None

    def _request(self, words: list[str]) -> socket.socket:
        """Ask for a child, and return the connection to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                ours.sendall(json.dumps(words).encode() + b"\n")
                if self._control is None:
                    raise BrokenPipeError
                socket.send_fds(self._control, [b"\n"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: Process | None) -> None:
        """Wait until the child has gone."""
        with anyio.CancelScope(shield=True), suppress(OSError):
            if not reader.at_eof():
                writer.write_eof()
                with anyio.move_on_after(END_S) as patience:
                    while await reader.read(65536):
                        pass
                if patience.cancelled_caught:  # the child never started, or the process hangs
                    await self._give_up(process)
            writer.close()

    async def _give_up(self, process: Process | None) -> None:
        async with self._starting:
            if process is self._process:  # else it was replaced already
                await self._stop()

    async def close(self) -> None:
        """End the process and its children."""
        async with self._starting:
            await self._stop()

    async def _stop(self) -> None:
        if self._control:
            self._control.close()  # which tells it to end itself and its children
            self._control = None
        if self._process:
            with anyio.move_on_after(END_S, shield=True):
                await self._process.wait()
            await processes.end(self._process)
        if self._reading:
            await asyncio.wait([self._reading], timeout=END_S)
            self._reading.cancel()

    async def _log_stderr(self, process: Process) -> None:
        while process.stderr is not None and (chunk := await process.stderr.read(4096)):
            for line in chunk.decode(errors="replace").splitlines():
                self.last_words.append(line[:500])
                log.debug("fork server: %s", line[:500])


async def _read(reader: asyncio.StreamReader, facts: Facts) -> None:
    """Read until the child's output ends, or a line is too long."""
    with suppress(ConnectionError, ValueError):
        async for line in reader:
            with suppress(ValueError):  # a truncated line
                facts |= json.loads(line)
