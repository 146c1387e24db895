"""Three servers on one PostgreSQL database: what they promise together, tried for long.

Run: python -m benchmarks.servers [--kills 20] [--clients 600] [--seconds 20]

1. 300 submissions at once to three servers with 100 places: exactly 100 are accepted.
2. Statuses of waiting tasks, asked by many clients once a second: what one takes, and the queries that it costs.
3. A stream of submissions from clients that try again, while servers are killed at random moments: every id that a
   client got ends, every video can be downloaded from every server, every callback arrives, progress never goes back.

The engine only writes a small video. The servers, PostgreSQL and the clients share this machine, so the figures say
what a small machine bears, not what the servers can do. Exit code 1 if a promise is broken.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks.load import EXAMPLES, Server, form, poll, send
from benchmarks.postgres import CAREFREE, Postgres, postgres
from benchmarks.serving import free_port
from tests.faults.process import ServerProcess, server_process
from tests.receiver import Receiver, receiving

PORTRAIT, SPEECH = (EXAMPLES / "portrait.jpg").read_bytes(), (EXAMPLES / "speech.wav").read_bytes()
SERVERS, PLACES, ASKED = 3, 100, 300
SENDERS, WATCHERS = 4, 2
PATIENCE_S = 300
TRIES = 1000
"""Attempts, so that being killed again and again is no reason to fail."""


@dataclass
class Group:
    """The servers, which can be killed and started again at the same address."""

    folder: Path
    url: str
    kind: str
    settings: dict[str, Any]
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(SERVERS)])
    running: dict[int, tuple[ExitStack, ServerProcess]] = field(default_factory=dict)

    def start(self, number: int) -> None:
        stack = ExitStack()
        own: dict[str, Any] = {"port": self.ports[number], "log_dir": self.folder / f"logs{number}"}
        service = server_process(
            self.folder,
            self.kind,
            output=self.folder / f"output{number}",
            database_url=self.url,
            **(own | self.settings),
        )
        self.running[number] = stack, stack.enter_context(service)

    def kill(self, number: int) -> None:
        stack, service = self.running.pop(number)
        service.kill()
        stack.close()

    def address(self, number: int | None = None) -> str:
        return f"http://127.0.0.1:{self.ports[random.randrange(SERVERS) if number is None else number]}"


@contextmanager
def group(database: Postgres, kind: str, **settings: Any) -> Iterator[Group]:
    with tempfile.TemporaryDirectory() as folder:
        servers = Group(Path(folder), database.create_database(), kind, settings)
        try:
            with ThreadPoolExecutor(SERVERS) as pool:
                list(pool.map(servers.start, range(SERVERS)))
            yield servers
        finally:
            for number in list(servers.running):
                servers.kill(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clients", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with postgres(CAREFREE) as database:
        kept = [crowd(database, arguments.clients, arguments.seconds)] if arguments.clients else []
        kept += [Stream(database).run(arguments.kills)] if arguments.kills else []
    sys.exit(not all(kept))


def crowd(database: Postgres, clients: int, seconds: float) -> bool:
    """Fill the queue, then ask for statuses."""
    with group(database, "gated", workers=1, queue_size=PLACES) as servers:
        places = [
            Server(servers.address(number), service.process, 0, 0) for number, (_, service) in servers.running.items()
        ]
        began = time.perf_counter()
        tasks, answers = asyncio.run(fill(places))
        took = time.perf_counter() - began
        print(
            f"{ASKED} submissions to {SERVERS} servers with {PLACES} places: {dict(answers)} in {took:.1f} s",
            flush=True,
        )
        before = transactions(database)
        loads = asyncio.run(ask_all(places, tasks, clients, seconds))
        count = sum(len(load.milliseconds) for load in loads)
        statuses = sum((load.statuses for load in loads), Counter[int]())
        every = sorted(took for load in loads for took in load.milliseconds)
        print(f"{clients} clients, each once a second: {count / seconds:.0f} statuses a second, {dict(statuses)}")
        print(f"median {every[count // 2]:.1f} ms, p99 {every[int(0.99 * count)]:.1f} ms")
        print(f"transactions for each: {(transactions(database) - before) / count:.2f}", flush=True)
        return answers[200] == PLACES + 1 and set(statuses) == {200}


async def fill(places: list[Server]) -> tuple[list[str], Counter[int]]:
    """Submit to all servers at the same time. One task is taken by the only slot, and 100 wait."""
    short = form(PORTRAIT, SPEECH, duration=0.5)
    first, body = await send(places[0], short)
    await asyncio.to_thread(wait_until_busy, places[0])
    answers = await asyncio.gather(*(send(places[number % SERVERS], short) for number in range(ASKED)))
    bodies = [body, *(body for status, body in answers if status == 200)]
    return [body.split(b'"')[3].decode() for body in bodies], Counter([first, *(status for status, _ in answers)])


def wait_until_busy(server: Server) -> None:
    while server.health()["slots_busy"] == 0:
        time.sleep(0.1)


async def ask_all(places: list[Server], tasks: list[str], clients: int, seconds: float) -> list[Any]:
    shares = [[tasks[number % len(tasks)] for number in range(clients // SERVERS)] for _ in places]
    return await asyncio.gather(
        *(poll(place, share, seconds, 1.0) for place, share in zip(places, shares, strict=True))
    )


def transactions(database: Postgres) -> int:
    return int(database.query("SELECT sum(xact_commit) FROM pg_stat_database")[0][0])


class Stream:
    """Clients that submit and try again, and others that watch, while servers are killed."""

    def __init__(self, database: Postgres) -> None:
        self.database = database
        self.promised: list[str] = []
        self.progress: dict[str, float] = {}
        self.went_back: list[str] = []
        self.ending = threading.Event()

    def run(self, kills: int) -> bool:
        receiver = Receiver()
        settings = {"workers": 2, "attempts": TRIES, "queue_size": 1000, "webhook_networks": "127.0.0.0/8"}
        with receiving(receiver), group(self.database, "quick", **settings) as servers:
            with ThreadPoolExecutor(SENDERS + WATCHERS) as pool:
                work = [pool.submit(self.send, servers, receiver.url) for _ in range(SENDERS)]
                work += [pool.submit(self.watch, servers, number) for number in range(WATCHERS)]
                gaps = [self.kill_one(servers) for _ in range(kills)]
                self.ending.set()
                for one in work:
                    one.result()
            return self.report(servers, receiver, gaps)

    def send(self, servers: Group, callback_url: str) -> None:
        while not self.ending.is_set():
            key, answer = uuid.uuid4().hex, None
            while answer is None or answer.status_code != 200:
                try:
                    answer = requests.post(
                        f"{servers.address()}/api/v1/synthesis/start",
                        files={"image": PORTRAIT, "audio": SPEECH},
                        data={"emotion": "happy", "duration": 0.5, "callback_url": callback_url},
                        headers={"Idempotency-Key": key},
                        timeout=30,
                    )
                    assert answer.status_code in (200, 503), answer.text
                except requests.RequestException:
                    pass
                time.sleep(0.2)
            self.promised.append(answer.json()["task_id"])

    def watch(self, servers: Group, watcher: int) -> None:
        """Ask any server about late tasks, as through a load balancer. Only one watcher asks about a task."""
        while not self.ending.is_set():
            for task in [task for task in self.promised[-8:] if int(task[0], 16) % WATCHERS == watcher]:
                try:
                    answer = requests.get(f"{servers.address()}/api/v1/synthesis/{task}/status", timeout=30)
                except requests.RequestException:
                    continue
                if answer.status_code == 200:
                    progress = answer.json()["progress"]
                    if progress < self.progress.get(task, 0):
                        self.went_back.append(task)
                    self.progress[task] = progress
            time.sleep(0.05)

    def kill_one(self, servers: Group) -> float:
        """Kill any server, start it again, and return how long no render was begun or ended."""
        time.sleep(random.uniform(1, 4))
        number = random.randrange(SERVERS)
        before = self.activity(servers)
        servers.kill(number)
        killed = time.monotonic()
        while self.activity(servers) == before:
            time.sleep(0.05)
        gap = time.monotonic() - killed
        servers.start(number)
        return gap

    def activity(self, servers: Group) -> Any:
        name = servers.url.rpartition("/")[2]
        return self.database.query("SELECT max(started_at), max(finished_at) FROM renders", name)

    def report(self, servers: Group, receiver: Receiver, gaps: list[float]) -> bool:
        end, left = time.monotonic() + PATIENCE_S, set(self.promised)
        states: Counter[str] = Counter()
        while left and time.monotonic() < end:
            for task in list(left):
                state = requests.get(f"{servers.address()}/api/v1/synthesis/{task}/status", timeout=30).json()
                if state["status"] in ("COMPLETED", "FAILED"):
                    states[state["status"]] += 1
                    left.discard(task)
        missing = [
            (number, task)
            for number in range(SERVERS)
            for task in self.promised
            if requests.get(f"{servers.address(number)}/api/v1/synthesis/{task}/download", timeout=30).status_code
            != 200
        ]
        while len({one.id for one in receiver.received}) < len(self.promised) and time.monotonic() < end:
            time.sleep(0.5)
        callbacks = Counter(one.id for one in receiver.received)
        name = servers.url.rpartition("/")[2]
        renders, ended = self.database.query("SELECT count(*), count(finished_at) FROM renders", name)[0]
        twice = self.database.query("SELECT count(*) - count(DISTINCT render_id) FROM made", name)[0][0]
        print(f"\n{len(gaps)} kills; the longest time without a begun or ended render: {max(gaps):.1f} s")
        print(f"ids promised: {len(self.promised)}; ended: {dict(states)}; not ended: {len(left)}")
        print(f"renders: {renders}, of which ended: {ended}; with two results: {twice}")
        print(f"videos that a server did not have: {len(missing)}; progress that went back: {len(self.went_back)}")
        lost, again = len(set(self.promised) - set(callbacks)), callbacks.total() - len(callbacks)
        print(f"callbacks missing: {lost}; sent again: {again}")
        done = states["COMPLETED"] == len(self.promised) == len(set(self.promised))
        return bool(done and not (left or missing or self.went_back or twice or lost))


if __name__ == "__main__":
    main()
