"""A slot renders one task at a time in an engine process, which it starts, watches, kills and replaces.

The seam at which slots on other machines can be added: paths and plain dataclasses go in, progress and a result come
out. What is said over the pipe is described in `dice_talk.worker`.
"""

import asyncio
import json
import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio

from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.worker import encode_job

log = logging.getLogger(__name__)

Command = Callable[[str], list[str]]
"""The command line that serves the engine of that name."""
OnProgress = Callable[[Progress], Awaitable[None]]


class TaskFailed(Exception):
    """The engine says that the input is to blame: trying again is no use."""

    def __init__(self, message: str, detail: str | None) -> None:
        super().__init__(message)
        self.detail = detail


class EngineLost(Exception):
    """The engine process crashed, hung, was killed or did not start. The message says which."""


class EngineProcess:
    """One running engine. Get one from `start`."""

    def __init__(self, process: asyncio.subprocess.Process, label: str) -> None:
        self._process, self._label = process, label
        self._last_words: deque[str] = deque(maxlen=20)
        self._logging = asyncio.create_task(self._log_stderr())

    @classmethod
    async def start(cls, command: list[str], label: str, load_seconds: float) -> "EngineProcess":
        """Starts a process and waits until its models are loaded. Raises `EngineLost` or `TaskFailed`."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is the service's to handle
        )
        engine = cls(process, label)
        try:
            await engine._next_event(load_seconds)
        except BaseException:
            await engine.stop()
            raise
        log.info("%s: engine ready, process %d", label, process.pid)
        return engine

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def render(self, job: RenderJob, on_progress: OnProgress, stall_seconds: float) -> RenderResult:
        """Renders one job. Raises `TaskFailed` or `EngineLost`; after the latter the process is of no more use."""
        await self._send(encode_job(job))
        while True:
            event = await self._next_event(stall_seconds)
            kind = event.pop("event")
            if kind == "done":
                return RenderResult(**event)
            if kind == "progress":
                await on_progress(Progress(**event))
            elif kind == "crashed":
                raise EngineLost(f"the engine raised {event['error']}")

    async def stop(self) -> None:
        """Kills the process and waits for its end."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._logging

    async def _send(self, message: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise EngineLost("the engine process has no input")
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError as error:
            raise EngineLost(await self._cause_of_death()) from error

    async def _next_event(self, seconds: float) -> dict[str, Any]:
        if self._process.stdout is None:
            raise EngineLost("the engine process has no output")
        try:
            with anyio.fail_after(seconds):  # asyncio.wait_for of Python 3.10 and 3.11 can swallow a cancellation
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise EngineLost(f"the engine said nothing for {seconds:g} seconds") from error
        if not line:
            raise EngineLost(await self._cause_of_death())
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "failed":
            raise TaskFailed(event["error"], event["detail"])
        return event

    async def _cause_of_death(self) -> str:
        code = await self._process.wait()
        await self._logging
        log.error("%s: engine process ended (%d); its last words:\n%s", self._label, code, "\n".join(self._last_words))
        if code < 0:
            return f"the engine process was killed by {signal.Signals(-code).name}"
        return f"the engine process exited with code {code}"

    async def _log_stderr(self) -> None:
        if self._process.stderr is None:
            return
        while chunk := await self._process.stderr.read(4096):
            for line in chunk.decode(errors="replace").splitlines():
                self._last_words.append(line[:500])
                log.debug("%s: %s", self._label, line[:500])


class Slot:
    """Keeps one engine process per engine that its tasks have asked for, and renders one task at a time."""

    def __init__(self, number: int, command: Command, *, load_seconds: float, stall_seconds: float) -> None:
        self.label = f"slot {number}"
        self.busy = False
        self.broken: str | None = None  # why the last engine process could not be started
        self._command, self._load_seconds, self._stall_seconds = command, load_seconds, stall_seconds
        self._engines: dict[str, EngineProcess] = {}

    def ready(self, engine: str) -> bool:
        """Whether that engine's process runs, with its models loaded."""
        return engine in self._engines and self._engines[engine].alive

    def pids(self) -> list[int]:
        """Of the engine processes that run."""
        return [engine.pid for engine in self._engines.values() if engine.alive]

    async def warm_up(self, engine: str) -> EngineProcess:
        """Sees to it that the engine's process runs. Raises `EngineLost` or `TaskFailed`."""
        if not self.ready(engine):
            try:
                process = await EngineProcess.start(self._command(engine), self.label, self._load_seconds)
            except (EngineLost, TaskFailed) as error:
                self.broken = str(error)
                raise
            self._engines[engine], self.broken = process, None
        return self._engines[engine]

    async def run(self, engine: str, job: RenderJob, on_progress: OnProgress) -> RenderResult:
        """Renders one job. Raises `TaskFailed` or `EngineLost`; the next call finds a fresh process then."""
        self.busy = True
        finished = False
        try:
            process = await self.warm_up(engine)
            result = await process.render(job, on_progress, self._stall_seconds)
            finished = True
            return result
        except TaskFailed:
            finished = True
            raise
        finally:
            self.busy = False
            if not finished:  # crashed, hung, or called off half-way: what the process does now is of no use
                await self._discard(engine)

    async def close(self) -> None:
        """Ends all engine processes."""
        for engine in list(self._engines):
            await self._discard(engine)

    async def _discard(self, engine: str) -> None:
        if process := self._engines.pop(engine, None):
            await process.stop()
