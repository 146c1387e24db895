"""The driver as the server sees it: started, watched, started again. `driver` defines the messages on its pipes."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from itertools import count
from typing import Any

import anyio

from api import processes
from api.rendering.cluster.plan import Plan
from api.rendering.slots import EngineLost, Loss, NodeLost, NoRoom, OnProgress, RenderRefused
from dice_talk.cleaning import clean_failure
from dice_talk.engine import RenderJob, RenderResult
from dice_talk.worker import decode_event, decode_progress, encode_cancel, encode_job

log = logging.getLogger(__name__)

CONNECT_S, SILENCE_S = 120.0, 15.0
"""How long the driver may take to join the cluster, and how long it may then say nothing."""
LEAVE_S = 8.0
PAUSE_S, MOST_PAUSE_S = 1.0, 30.0
"""The pause before it is started again; it doubles while it cannot join."""
MOST_LINE = 16 << 20
LAST_WORDS = 20

Event = dict[str, Any]
OnCluster = Callable[["DriverProcess", list[Mapping[str, Any]], bool, str | None], None]
"""Takes the driver, the slots that there are, whether the cluster answers, and what is wrong."""


class DriverProcess:
    """The process that is connected to the cluster."""

    def __init__(self, command: list[str], plan: Plan, on_cluster: OnCluster) -> None:
        """`command`: starts `driver`."""
        self._command, self._plan, self._on_cluster = command, plan, on_cluster
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = count(1)
        self._inboxes: dict[int, asyncio.Queue[Event | None]] = {}
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._running: asyncio.Task[None] | None = None
        self._connected = self._closing = False
        self._demand = 0

    async def start(self) -> None:
        """Start the driver, and keep it running until `close`."""
        self._on_cluster(self, [], False, f"The Ray cluster at {self._plan.address} is being joined")
        self._running = asyncio.create_task(self._keep_running(), context=Context())

    async def close(self) -> None:
        """End the driver. It leaves its actors to the next server."""
        self._closing = True
        if self._process and self._process.stdin:
            self._process.stdin.close()
        if self._running:
            await asyncio.wait({self._running}, timeout=LEAVE_S)
            self._running.cancel()
            await asyncio.wait({self._running})

    def want(self, demand: int) -> None:
        """Say how many renders wait or run."""
        if demand != self._demand and self._connected:
            self._demand = demand
            self._send({"demand": demand})

    async def render(self, slot: str, engine: str, job: RenderJob, on_progress: OnProgress) -> RenderResult:
        """Render one job. Cancelling stops the render. Raises as `Slot.render` does."""
        number = next(self._numbers)
        inbox = self._inboxes[number] = asyncio.Queue()
        ended = False
        try:
            self._send({"slot": slot, "engine": engine, **encode_job(number, job)})
            while (event := await inbox.get()) and event["event"] == "progress":
                await on_progress(decode_progress(event))
            ended = True
            return outcome(event)
        finally:
            if not ended:
                with anyio.CancelScope(shield=True):
                    await self._stop(number, inbox)
            del self._inboxes[number]

    async def _stop(self, number: int, inbox: "asyncio.Queue[Event | None]") -> None:
        """Stop a job and wait for its end: its files are in use until then."""
        self._send(encode_cancel(number))
        while (event := await inbox.get()) and event["event"] == "progress":
            pass

    def _send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Jobs hear that the driver has ended from `_serve`."""
        if self._connected:
            self._write(message)
        elif inbox := self._inboxes.get(message.get("job", 0)):
            inbox.put_nowait(None)

    def _write(self, message: Mapping[str, Any]) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _keep_running(self) -> None:
        pause = PAUSE_S
        while True:
            reason = await self._run()
            if self._closing:
                return
            pause = PAUSE_S if self._connected else min(2 * pause, MOST_PAUSE_S)
            self._lose_all(reason)
            await asyncio.sleep(pause)

    async def _run(self) -> str:
        """Run the driver once. Returns why it has ended."""
        try:
            self._process = process = await processes.start(
                self._command, stdin=asyncio.subprocess.PIPE, limit=MOST_LINE
            )
        except OSError as error:
            return f"the process could not be started: {error.strerror}"
        hearing = asyncio.create_task(self._hear_stderr(process))
        try:
            self._write(self._plan.to_json())
            return await self._read(process)
        finally:
            await processes.end(process)
            hearing.cancel()
            processes.close_pipes(process)
            self._process = None

    async def _read(self, process: asyncio.subprocess.Process) -> str:
        """Hand each event on until there are no more. Returns why."""
        problem: str | None = None
        while True:
            try:
                with anyio.fail_after(SILENCE_S if self._connected else CONNECT_S):
                    line = await process.stdout.readline() if process.stdout else b""
                number, event = decode_event(line)
            except TimeoutError:
                return "the driver says nothing"
            except ValueError:  # the end, or no event
                return problem or "the driver has ended"
            if event["event"] == "cluster":
                problem = event["problem"]
                self._on_cluster(self, event["slots"], event["reachable"], problem)
            elif event["event"] == "alive":
                self._connected = True
            elif inbox := self._inboxes.get(number):
                inbox.put_nowait(event)

    def _lose_all(self, reason: str) -> None:
        self._connected, self._demand = False, 0
        words = "\n".join(self._last_words)
        log.error("the driver of the Ray cluster: %s; it is started again; its last words:\n%s", reason, words)
        self._on_cluster(self, [], False, reason[:1].upper() + reason[1:])
        for inbox in self._inboxes.values():
            inbox.put_nowait(None)

    async def _hear_stderr(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr and (chunk := await process.stderr.read(4096)):
            for line in chunk.decode(errors="replace").splitlines():
                self._last_words.append(line[:500])
                log.debug("driver: %s", line[:500])


def outcome(event: Event | None) -> RenderResult:
    """Return the result that a job's last event tells of. Raises as `Slot.render` does."""
    match event or {}:
        case {"event": "done"} as event:
            return RenderResult(**_without_kind(event))
        case {"event": "failed"} as event:
            raise RenderRefused.from_facts(clean_failure(event))
        case {"event": "engine_lost", "reason": str(reason), "loss": str(loss)}:
            raise EngineLost(reason, Loss[loss])
        case {"event": "no_room"}:
            raise NoRoom
        case {"event": "lost", "reason": str(reason)}:
            raise NodeLost(reason)
    raise NodeLost("the connection to the Ray cluster was lost")


def _without_kind(event: Event) -> Event:
    return {name: value for name, value in event.items() if name != "event"}
