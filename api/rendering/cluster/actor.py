"""One slot on a node, or those that share an engine process there, as an actor of Ray.

The actor is detached: it keeps its models over a restart of the server, and ends itself when no server has spoken for a
while. Its methods are called by `seat`. A server first attaches itself, and names the token that it got in all further
calls: what an earlier server or an earlier connection still sends changes nothing.
"""

import asyncio
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from api.rendering.cluster import pieces
from api.rendering.cluster.plan import Plan, identity
from api.rendering.engine_process import EngineProcess
from api.rendering.local import EnginePool
from api.rendering.slots import EngineLost, NoRoom, RenderRefused
from api.threads import entered
from dice_talk.engine import Progress, RenderJob
from dice_talk.errors import no_room
from dice_talk.node import Scratch, is_draining
from dice_talk.worker import decode_job, encode_progress

log = logging.getLogger(__name__)

HELD_S = 6.0
"""A server that has said nothing for so long no longer holds the actor."""
POLL_S = 2.0
"""`news` answers after this time at the latest."""
CHECK_S, MOST_PAUSE_S = 2.0, 60.0
"""How often the engine is checked; the pause grows to the second figure while it cannot start."""
STATE_CHECK_S, IDENTITY_S = 0.5, 5.0
LEAST_FREE = 200 << 20
"""Bytes that must be free for a render to begin."""
CHECKPOINTS = "DICE_TALK_CHECKPOINTS_DIR"
"""The variable that names a node's own folder of weights."""
Outcome = dict[str, Any]
"""How a job ended: an event as `dice_talk.worker` has them, and `files`."""


@dataclass
class ActorJob:
    """A render in progress. `version`: of the actor when the field was last set."""

    number: int
    work: "asyncio.Task[Outcome] | None" = None
    progress: Progress | None = None
    progress_version: int = 0
    state: pieces.Pieces | None = None
    state_version: int = 0
    state_time: int = 0  # when the engine wrote it, in nanoseconds


class SlotActor:
    """See the module's description."""

    def __init__(self, plan: Plan, places: int, node: str) -> None:
        """`places`: renders at a time. `node`: its name."""
        self._plan, self._places, self._node = plan, places, node
        self._checkpoints = Path(os.environ.get(CHECKPOINTS) or plan.checkpoints)
        self._scratch = Scratch()
        self._engines = EnginePool(self._command, load_seconds=plan.load_seconds, stall_seconds=plan.stall_seconds)
        self._jobs: dict[int, ActorJob] = {}
        self._server: str | None = None
        self._token: str | None = None
        self._left = False  # by its last server
        self._heard = time.monotonic()
        self._version, self._changed = 0, asyncio.Event()
        self._loaded: list[str] = []
        self._broken: str | None = None
        self._identities: dict[str, tuple[float, str]] = {}  # and when they were found
        self._warming: asyncio.Task[None] | None = None
        threading.Thread(target=self._end_when_forgotten, daemon=True).start()

    async def attach(self, server: str, token: str) -> bool:
        """Make a server the only one that is obeyed. False if another one holds the actor."""
        if self._server not in (None, server) and not self._is_free():
            return False
        self._server, self._token, self._heard = server, token, time.monotonic()
        self._left = False
        await self._stop_jobs()
        if self._warming is None:
            self._warming = asyncio.create_task(self._keep_warm())
        return True

    async def detach(self, token: str) -> None:
        """Stop what the server has begun; any server may attach itself."""
        if token == self._token:
            self._server = self._token = None
            await self._stop_jobs()
            self._left = True

    def _is_free(self) -> bool:
        """Whether the last server has gone."""
        return self._left or time.monotonic() - self._heard >= HELD_S

    async def end_if_free(self) -> None:
        """End the actor if no server holds it: one that renders otherwise wants its slot."""
        if self._is_free():
            await self._stop_jobs()
            await self._engines.close()
            self._exit()

    async def end(self, token: str) -> None:
        """End the actor."""
        if token == self._token:
            await self._stop_jobs()
            await self._engines.close()
            self._exit()

    async def news(self, token: str, seen: int) -> dict[str, Any] | None:
        """Return what has changed since the version that was seen, soon. None if another server holds the actor."""
        if token != self._token:
            return None
        self._heard = time.monotonic()
        with anyio.move_on_after(POLL_S):
            while self._version <= seen:
                self._changed.clear()
                await self._changed.wait()
        jobs = list(self._jobs.values())
        return {
            "version": self._version,
            "loaded": self._loaded,
            "broken": self._broken,
            "draining": await asyncio.to_thread(is_draining),
            "progress": {
                job.number: encode_progress(job.progress)
                for job in jobs
                if job.progress and job.progress_version > seen
            },
            "states": {job.number: job.state for job in jobs if job.state and job.state_version > seen},
        }

    async def render(
        self, token: str, number: int, place: int, engine: str, message: Mapping[str, Any], files: Mapping[str, Any]
    ) -> Outcome:
        """Render one job. `place`: from 1. `message`: of `encode_job`, with paths to be replaced. `files`: by name."""
        if token != self._token:
            return _lost("another server has taken the slot over")
        job = self._jobs[number] = ActorJob(number)
        job.work = asyncio.create_task(self._work(job, place, engine, message, files))
        try:
            return await job.work
        finally:
            self._heard = time.monotonic()
            if self._jobs.get(number) is job:
                del self._jobs[number]

    async def cancel(self, token: str, number: int) -> None:
        """Stop a job at its next step."""
        if token == self._token and (job := self._jobs.get(number)) and job.work:
            job.work.cancel()

    async def _stop_jobs(self) -> None:
        works = [job.work for job in self._jobs.values() if job.work]
        for work in works:
            work.cancel()
        if works:
            await asyncio.wait(works)

    async def _work(
        self, job: ActorJob, place: int, engine: str, message: Mapping[str, Any], files: Mapping[str, Any]
    ) -> Outcome:
        """Never raises."""
        try:
            async with entered(self._scratch.job(job.number)) as folder:
                for name, parts in files.items():
                    await pieces.fetch(parts, folder / name)
                job.state_time = _time_of(folder / "state")
                paths = {name: str(folder / name) for name in ("image", "audio", "output", "state")}
                watching = asyncio.create_task(self._watch_state(job, folder / "state"))
                try:
                    outcome = await self._render(job, place, engine, decode_job({**message, **paths}))
                finally:
                    watching.cancel()
                return outcome | {"files": await asyncio.to_thread(_results, folder, outcome["event"])}
        except asyncio.CancelledError:
            return {"event": "cancelled"}
        except OSError as error:
            return _lost("its disk is full" if no_room(error) else str(error.strerror))

    async def _render(self, job: ActorJob, place: int, engine: str, render: RenderJob) -> Outcome:
        async def on_progress(progress: Progress) -> None:
            job.progress, job.progress_version = progress, self._change()

        try:
            process = await self._engine(engine, place)
            return {"event": "done", **asdict(await process.render(render, on_progress))}
        except RenderRefused as error:
            return {"event": "failed", **error.facts()}
        except EngineLost as error:
            return {"event": "engine_lost", "reason": str(error), "loss": error.loss.name}
        except NoRoom:
            return _lost("its disk is full")
        except asyncio.CancelledError:
            return {"event": "cancelled"}

    async def _engine(self, engine: str, place: int) -> EngineProcess:
        """Return a running engine. Raises `EngineLost` or `RenderRefused`."""
        found = await self._identity(engine)
        if found != self._plan.identities.get(engine):
            raise EngineLost(f"the {engine} engine of {self._node} is another one than the server's: {found}")
        # A cancelled render must not end an engine that others wait for.
        return await asyncio.shield(self._engines.get(engine, place))

    async def _identity(self, engine: str) -> str:
        """Return the identity of an engine here, found anew every few seconds."""
        since, found = self._identities.get(engine, (-IDENTITY_S, ""))
        if time.monotonic() - since >= IDENTITY_S:
            since, found = time.monotonic(), await asyncio.to_thread(identity, engine, self._checkpoints)
            self._identities[engine] = since, found
        return found

    def _command(self, engine: str) -> list[str]:
        own, theirs = str(self._checkpoints), self._plan.checkpoints
        return [sys.executable, *(own if word == theirs else word for word in self._plan.commands[engine])]

    async def _keep_warm(self) -> None:
        """Start the engine, and start it again when it has ended."""
        pause = CHECK_S
        while True:
            broken = await self._warm_up()
            if broken:
                log.error("the %s engine cannot be used: %s", self._plan.engine, broken)
            if broken != self._broken or bool(broken) == bool(self._loaded):
                self._broken, self._loaded = broken, [] if broken else [self._plan.engine]
                self._change()
            pause = min(2 * pause, MOST_PAUSE_S) if broken else CHECK_S
            await asyncio.sleep(pause)

    async def _warm_up(self) -> str | None:
        """Return why nothing can be rendered."""
        try:
            for place in range(1, self._places + 1):
                await self._engine(self._plan.engine, place)
            if shutil.disk_usage(self._scratch.folder).free < LEAST_FREE:
                return f"the disk of {self._node} is full"
        except Exception as error:  # noqa: BLE001 - for any reason that an engine won't start, it must be tried again
            return str(error)
        return None

    async def _watch_state(self, job: ActorJob, path: Path) -> None:
        """Hand on each state that the engine saves: this node may be gone when it is needed."""
        while True:
            await asyncio.sleep(STATE_CHECK_S)
            if (written := _time_of(path)) != job.state_time:
                with suppress(OSError):
                    job.state, job.state_time = await asyncio.to_thread(pieces.put, path), written
                    job.state_version = self._change()

    def _change(self) -> int:
        self._version += 1
        self._changed.set()
        return self._version

    def _end_when_forgotten(self) -> None:
        while self._jobs or time.monotonic() - self._heard < self._plan.lease_seconds:
            time.sleep(min(1.0, self._plan.lease_seconds / 4))
        self._exit()

    def _exit(self) -> None:
        self._scratch.remove()
        os._exit(0)  # the engines end when their input does


def _lost(reason: str) -> Outcome:
    return {"event": "lost", "reason": reason}


def _time_of(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _results(folder: Path, event: str) -> dict[str, pieces.Pieces]:
    """Return what is to be kept of a job. Blocking."""
    path = folder / ("output" if event == "done" else "state")
    return {path.name: pieces.put(path)} if path.exists() else {}
