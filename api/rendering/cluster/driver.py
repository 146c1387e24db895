"""The child process that is connected to the cluster: `python -m api.rendering.cluster.driver`.

It speaks JSON, one object a line. In: first the plan, then `{"job": N, "slot": NAME, "engine": NAME, "render": {...}}`
to render, `{"job": N, "cancel": true}` to stop, `{"demand": N}`: how many renders wait or run. Out: of job 0 `cluster`
when slots have come or gone, and `alive` every second; per job any number of `progress`, and one of `done`, `failed`,
`cancelled`, `no_room` (here), `engine_lost` or `lost` (the node; it costs no attempt). When its input ends, it leaves
the actors to the next server.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import ray
from ray._private.state import state  # which nodes are being drained is told nowhere else

from api.rendering.cluster import pieces
from api.rendering.cluster.demand import Demand
from api.rendering.cluster.nodes import ClusterNode, Share, rendering_nodes, shares
from api.rendering.cluster.plan import PREFIX, Plan
from api.rendering.cluster.seat import Seat, SeatLost
from dice_talk.atomic import atomic_path, discard_partial
from dice_talk.errors import no_room
from dice_talk.node import RESOURCE
from dice_talk.worker import claim_stdout

log = logging.getLogger(__name__)

Say = Callable[[Mapping[str, Any]], None]

NODES_EVERY_S = 0.5
HEAD_S = 6.0
"""When the head has not answered for so long, the service says so."""
BEAT_S = 1.0
LEAVE_S = 5.0
NEWS_EVERY_S, NEWS_A_SECOND = 0.5, 200
"""How often one actor is asked, and how often all of them are together, at most."""
INPUTS = ("image", "audio", "state")
MOST_COMMAND = 1 << 20


@dataclass
class DriverJob:
    """A render in progress. The server's files are read and written here, and nowhere else."""

    number: int
    seat: Seat
    paths: Mapping[str, Path]
    running: "asyncio.Task[None] | None" = None
    saving: "asyncio.Task[None] | None" = None


class Driver:
    """See the module's description."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan, self._say = plan, say
        self._seats: dict[str, Seat] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._jobs: dict[int, DriverJob] = {}
        self._nodes: list[ClusterNode] = []
        self._heard = time.monotonic()  # of the head
        self._demand = Demand(plan)
        self._wanted = 0
        self._told: Mapping[str, Any] = {}

    async def run(self, commands: asyncio.StreamReader) -> None:
        """Serve until the input ends."""
        works = {asyncio.create_task(work) for work in (self._listen(commands), self._watch_nodes(), self._beat())}
        ended, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        for one in (*works, *self._keeping.values()):
            one.cancel()
        with anyio.move_on_after(LEAVE_S):
            await asyncio.gather(*(seat.leave() for seat in self._seats.values()), return_exceptions=True)
        for one in ended:
            one.result()  # the end of the input, or what went wrong

    async def _listen(self, commands: asyncio.StreamReader) -> None:
        while line := await commands.readline():
            self._obey(json.loads(line))

    def _obey(self, command: Mapping[str, Any]) -> None:
        match command:
            case {"demand": wanted}:
                self._wanted = wanted
            case {"job": number, "cancel": True}:
                if job := self._jobs.get(number):
                    job.seat.cancel(number)
            case {"job": number, "slot": slot, "engine": engine, "render": message}:
                self._begin(number, slot, engine, message)

    # Nodes and actors

    async def _watch_nodes(self) -> None:
        while True:
            listing = asyncio.create_task(asyncio.to_thread(list_nodes))
            while not (await asyncio.wait({listing}, timeout=HEAD_S))[0]:
                self._tell()  # the head does not answer: what runs goes on
            self._nodes, self._heard = listing.result(), time.monotonic()
            await self._place()
            self._tell()
            if not all(seat.held for seat in self._seats.values()):
                await asyncio.to_thread(end_strangers, self._plan)
            offered = sum(node.slots for node in self._nodes if not node.draining)
            await self._demand.show(min(self._wanted, self._plan.max_slots) - offered)
            await asyncio.sleep(NODES_EVERY_S)

    async def _place(self) -> None:
        """Have an actor for each share of each node, and none elsewhere."""
        wanted = self._needed(chosen(self._nodes, self._plan.engine, self._plan.max_slots, self._seats.keys()))
        present = {node.id for node in self._nodes}
        for name, seat in list(self._seats.items()):
            gone = seat.share.node.id not in present
            if name not in wanted and (gone or not seat.jobs):
                await self._vacate(name, gone=gone)
        for name, share in wanted.items():
            if name not in self._seats:
                seat = self._seats[name] = Seat(share, self._plan, self._on_news, self._tell, self._pace)
                self._keeping[name] = asyncio.create_task(seat.keep())

    def _needed(self, shares: dict[str, Share]) -> dict[str, Share]:
        """Leave out what is idle for too long, and what nobody waits for."""
        if not self._plan.idle_seconds:
            return shares
        lately = {name for name, seat in self._seats.items() if seat.idle_seconds < self._plan.idle_seconds}
        needed: dict[str, Share] = {}
        for name, share in sorted(shares.items(), key=lambda item: item[0] not in lately):
            if name in lately or sum(one.places for one in needed.values()) < self._wanted:
                needed[name] = share
        return needed

    async def _vacate(self, name: str, *, gone: bool) -> None:
        seat = self._seats.pop(name)
        self._keeping.pop(name).cancel()
        if not gone:
            with anyio.move_on_after(LEAVE_S), suppress(Exception):
                await seat.end()
        seat.lose("the node is gone" if gone else "the slot was given up")

    def _pace(self) -> float:
        return max(NEWS_EVERY_S, len(self._seats) / NEWS_A_SECOND)

    def _tell(self) -> None:
        """Tell the server which slots there are, if that has changed."""
        leaving = {node.id for node in self._nodes if node.draining}
        open_seats = (seat for seat in self._seats.values() if seat.held and not seat.draining)
        held = [seat for seat in open_seats if seat.share.node.id not in leaving]
        slots = [slot for seat in held for slot in seat.slots]
        told = {"job": 0, "event": "cluster", "slots": slots, **self._state(bool(slots))}
        if told != self._told:
            self._told = told
            self._say(told)

    def _state(self, some: bool) -> dict[str, Any]:
        """Return whether the head answers, and what is wrong. `some`: whether there are slots."""
        if time.monotonic() - self._heard >= HEAD_S:
            problem = f"The head of the Ray cluster at {self._plan.address} does not answer"
            return {"reachable": False, "problem": problem}
        return {"reachable": True, "problem": None if some else self._lack()}

    def _lack(self) -> str:
        """Return why there are no slots."""
        address = self._plan.address
        if not self._nodes:
            return f"No node of the Ray cluster at {address} offers {RESOURCE}: start one with python -m dice_talk node"
        if self._plan.idle_seconds and not self._wanted:
            return "Slots are started when tasks wait"
        reasons = [f"{seat.share.node.name}: {seat.problem}" for seat in self._seats.values()]
        return f"No slot of the Ray cluster can be used yet; {'; '.join(reasons[:3]) or 'all nodes are being drained'}"

    async def _beat(self) -> None:
        while True:
            self._say({"job": 0, "event": "alive"})
            await asyncio.sleep(BEAT_S)

    # Jobs

    def _begin(self, number: int, slot: str, engine: str, message: Mapping[str, Any]) -> None:
        name, _, place = slot.rpartition("/")
        if (seat := self._seats.get(name)) is None:
            self._say({"job": number, "event": "lost", "reason": "the slot has gone"})
            return
        paths = {key: Path(message[key]) for key in ("image", "audio", "output", "state")}
        job = self._jobs[number] = DriverJob(number, seat, paths)
        seat.jobs.add(number)
        job.running = asyncio.create_task(self._run(job, int(place), engine, message))

    async def _run(self, job: DriverJob, place: int, engine: str, message: Mapping[str, Any]) -> None:
        try:
            outcome = await self._render(job, place, engine, message)
        except SeatLost as error:
            outcome = {"event": "lost", "reason": str(error)}
        except OSError as error:
            outcome = {"event": "no_room"} if no_room(error) else {"event": "lost", "reason": str(error.strerror)}
        except Exception as error:
            log.exception("job %d", job.number)
            outcome = {"event": "lost", "reason": type(error).__name__}
        job.seat.jobs.discard(job.number)
        if job.saving:
            job.saving.cancel()
            await asyncio.wait({job.saving})
        del self._jobs[job.number]
        self._say({"job": job.number, **outcome})

    async def _render(self, job: DriverJob, place: int, engine: str, message: Mapping[str, Any]) -> dict[str, Any]:
        files = await asyncio.to_thread(_inputs, job.paths)
        outcome = await job.seat.render(job.number, place, engine, message, files)
        results = outcome.pop("files", {})
        if "output" in results:
            await job.seat.until_lost(lambda: pieces.fetch(results["output"], job.paths["output"]))
        if "state" in results:
            await job.seat.until_lost(lambda: self._save(job, results["state"]))
        return outcome

    def _on_news(self, number: int, progress: Mapping[str, Any] | None, state: pieces.Pieces | None) -> None:
        job = self._jobs[number]
        if progress:
            self._say({"job": number, **progress})
        if state and (job.saving is None or job.saving.done()):
            job.saving = asyncio.create_task(self._save(job, state))

    async def _save(self, job: DriverJob, state: pieces.Pieces) -> None:
        """Keep a state for the next attempt. One that cannot be kept does not end the render."""
        try:
            with atomic_path(job.paths["state"]) as part:
                await pieces.fetch(state, part)
        except (OSError, ray.exceptions.RayError) as error:
            log.warning("the state of job %d cannot be kept: %s", job.number, error)


def _inputs(paths: Mapping[str, Path]) -> dict[str, pieces.Pieces]:
    """Return the files that a render begins with. Blocking."""
    discard_partial(paths["state"])
    return {name: pieces.put(paths[name]) for name in INPUTS if paths[name].exists()}


def chosen(nodes: list[ClusterNode], engine: str, most: int, kept: Collection[str] = ()) -> dict[str, Share]:
    """Return the shares that are to have an actor, by name: as many as `most` allows, and first those in `kept`."""
    found: dict[str, Share] = {}
    offered = [share for node in nodes if not node.draining for share in shares(node, engine)]
    for share in sorted(offered, key=lambda share: (share.name not in kept, share.name)):
        if sum(one.places for one in found.values()) + share.places <= most:
            found[share.name] = share
    return found


def list_nodes() -> list[ClusterNode]:
    """Ask the head for the nodes. Blocks for as long as it does not answer."""
    return rendering_nodes(ray.nodes(), draining=state.get_draining_nodes())


def end_strangers(plan: Plan) -> None:
    """End actors of servers that render otherwise, such as another release, and have gone. Blocking."""
    for one in ray.util.list_named_actors(all_namespaces=True):
        if one["namespace"].startswith(PREFIX) and one["namespace"] != plan.namespace:
            with suppress(ray.exceptions.RayError, ValueError):  # it has just ended
                ray.get_actor(**one).end_if_free.remote()


def connect(plan: Plan) -> None:
    """Join the cluster. Raises `ConnectionError` and others."""
    ray.init(
        address=plan.address,
        namespace=plan.namespace,
        log_to_driver=False,
        configure_logging=False,
        include_dashboard=False,
    )


async def serve(plan: Plan, say: Say) -> None:
    """Serve a server that has sent its plan."""
    commands = asyncio.StreamReader(limit=MOST_COMMAND)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    await Driver(plan, say).run(commands)


def main() -> None:
    """Connect, then serve until the input ends. Exit code 1 if the cluster cannot be reached."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    messages = claim_stdout()

    def say(message: Mapping[str, Any]) -> None:
        messages.write(json.dumps(message, ensure_ascii=False) + "\n")
        messages.flush()

    with open(0, "rb", buffering=0, closefd=False) as first:
        plan = Plan.from_json(json.loads(first.readline()))
    try:
        connect(plan)
    except Exception as error:  # noqa: BLE001 - Ray raises many kinds
        reason = " ".join(str(error).split())[:300]
        problem = f"The Ray cluster at {plan.address} cannot be joined: {reason}"
        say({"job": 0, "event": "cluster", "slots": [], "reachable": False, "problem": problem})
        sys.exit(1)
    asyncio.run(serve(plan, say))
    os._exit(0)  # Ray's own end takes seconds


if __name__ == "__main__":
    main()
