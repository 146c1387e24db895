"""One engine process: started, watched and killed. `dice_talk.worker` defines the messages on its pipes."""

import asyncio
import json
import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from itertools import count
from typing import Any

import anyio

from api import processes
from api.rendering.slots import EngineLost, Loss, NoRoom, RenderRefused
from dice_talk.cleaning import clean_failure
from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.worker import decode_event, decode_progress, encode_cancel, encode_job

log = logging.getLogger(__name__)

CANCEL_SECONDS = 5.0
"""An engine that is told to stop does so at its next step. If it stays silent for so long, it is killed, unless other
tasks are rendered in the same process: a cancellation must not cost them an attempt.
"""
END_SECONDS = 1.0
"""The longest time between the end of a process's output and its own end, and the other way round."""
LAST_WORDS = 40

Event = dict[str, Any]


class EngineProcess:
    """One running engine, which may render several jobs at a time. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, label: str, stall_seconds: float) -> None:
        self._process, self._label, self._stall_seconds = process, label, stall_seconds
        self._numbers = count(1)
        self._inboxes: dict[int, asyncio.Queue[Event | None]] = {0: asyncio.Queue()}  # 0: about the engine itself
        self._cancelled_jobs: set[int] = set()
        self._talks = True
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        # In contexts of their own, because what they log is not only about the task that started the process.
        self._reading = asyncio.create_task(self._read_events(), context=Context())
        self._logging = asyncio.create_task(self._log_stderr(), context=Context())

    @classmethod
    async def start(
        cls, command: list[str], label: str, *, load_seconds: float, stall_seconds: float
    ) -> "EngineProcess":
        """Start a process and wait until its models are loaded. Raises `EngineLost` or `RenderRefused`."""
        try:
            process = await processes.start(command, stdin=asyncio.subprocess.PIPE)
        except OSError as error:  # no memory, no descriptors, no such program
            raise EngineLost(f"the engine process could not be started: {error.strerror}") from error
        engine = cls(process, label, stall_seconds)
        try:
            await engine._next_event(0, load_seconds)
        except BaseException:
            await engine.stop()
            raise
        log.info("%s: engine ready, process %d", label, process.pid)
        return engine

    @property
    def alive(self) -> bool:
        """Whether the process runs and listens."""
        return self._process.returncode is None and self._talks

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def render(self, job: RenderJob, on_progress: Callable[[Progress], Awaitable[None]]) -> RenderResult:
        """Render one job. Raises `RenderRefused`, `EngineLost` or `NoRoom`. Cancelling stops the render."""
        number = next(self._numbers)
        self._inboxes[number] = asyncio.Queue()
        try:
            await self._send(encode_job(number, job))
            return await self._follow(number, on_progress)
        except (EngineLost, RenderRefused, NoRoom):  # the job is over
            raise
        except Exception as error:
            log.exception("%s: what the engine said cannot be used", self._label)
            await self._cancel_job(number)
            raise EngineLost(f"what the engine said cannot be used: {type(error).__name__}") from error
        except BaseException:
            await self._cancel_job(number)
            raise
        finally:
            del self._inboxes[number]
            self._cancelled_jobs.discard(number)

    async def _follow(self, number: int, on_progress: Callable[[Progress], Awaitable[None]]) -> RenderResult:
        while True:
            event = await self._next_event(number, self._stall_seconds)
            kind = event.pop("event")
            if kind == "done":
                return RenderResult(**event)
            if kind == "progress":
                await on_progress(decode_progress(event))
            elif kind == "no_room":
                raise NoRoom
            elif kind == "crashed":
                self._log_last_words(f"the engine raised {event['error']}")
                if len(self._inboxes) <= 2:  # no other task renders here: a fresh process is safer
                    await self.stop()
                raise EngineLost(f"the engine raised {event['error']}", Loss.MEMORY if event["memory"] else Loss.CRASH)

    async def _cancel_job(self, number: int) -> None:
        """Tell the engine to stop a job and wait until it has. A silent engine is killed."""
        self._cancelled_jobs.add(number)
        with anyio.CancelScope(shield=True), suppress(EngineLost, RenderRefused):
            await self._send(encode_cancel(number))
            alone = self._inboxes.keys() <= {0, *self._cancelled_jobs}
            patience = CANCEL_SECONDS if alone else self._stall_seconds
            while (await self._next_event(number, patience, cancelled=True))["event"] == "progress":
                pass

    async def stop(self) -> None:
        """Kill the process, with any it has started, and wait for its end."""
        await processes.end(self._process)
        await self._end_of_output()

    async def _end_of_output(self) -> None:
        """Wait until all output is read, but not for long: a grandchild may hold the pipe open."""
        await asyncio.wait((self._reading, self._logging), timeout=END_SECONDS)
        self._reading.cancel()
        self._logging.cancel()
        processes.close_pipes(self._process)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                await self._process.stdin.drain()
        except OSError as error:
            raise await self._death() from error

    async def _next_event(self, number: int, seconds: float, *, cancelled: bool = False) -> Event:
        """Return the next event of a job. If there is none for `seconds`, the engine hangs and is killed."""
        try:
            with anyio.fail_after(seconds):  # asyncio.wait_for of Python 3.10 and 3.11 can swallow a cancellation
                event = await self._inboxes[number].get()
        except TimeoutError as error:
            await self.stop()
            if cancelled:
                log.info("%s: ended, for it did not stop within %g seconds", self._label, seconds)
            else:
                self._log_last_words(f"the engine said nothing for {seconds:g} seconds")
            raise EngineLost(f"the engine said nothing for {seconds:g} seconds", Loss.SILENCE) from error
        if event is None:
            raise await self._death()
        if event["event"] == "failed":
            raise RenderRefused.from_facts(clean_failure(event))
        return event

    async def _death(self) -> EngineLost:
        with anyio.move_on_after(END_SECONDS):
            await self._process.wait()
        code = self._process.returncode
        await self.stop()
        if code is None:
            cause = "the engine process stopped talking"
        elif code < 0:
            names = {number.value: number.name for number in signal.Signals}
            cause = f"the engine process was killed by {names.get(-code, f'signal {-code}')}"
        else:
            cause = f"the engine process exited with code {code}"
        self._log_last_words(cause)
        killed = code == -signal.SIGKILL  # as the kernel does when memory runs out
        return EngineLost(cause, Loss.MEMORY if killed else Loss.CRASH)

    def _log_last_words(self, cause: str) -> None:
        log.error("%s: %s; its last words:\n%s", self._label, cause, "\n".join(self._last_words))

    async def _read_events(self) -> None:
        """Hand each event to its job. At the end of the events, tell every job."""
        try:
            while self._process.stdout is not None and (line := await self._process.stdout.readline()):
                number, event = decode_event(line)
                if inbox := self._inboxes.get(number):
                    inbox.put_nowait(event)
        except ValueError:  # a truncated or endless line: the engine was cut off, or is none
            log.error("%s: the engine does not speak the protocol", self._label)
        finally:
            self._talks = False
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)
        while self._process.stdout is not None and await self._process.stdout.read(65536):
            pass  # a full pipe would keep asyncio from noticing the end of the process

    async def _log_stderr(self) -> None:
        while self._process.stderr is not None and (chunk := await self._process.stderr.read(4096)):
            for line in chunk.decode(errors="replace").splitlines():
                self._last_words.append(line[:500])
                log.debug("%s: %s", self._label, line[:500])
