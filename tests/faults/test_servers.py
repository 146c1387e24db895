"""Several servers on PostgreSQL: one queue, one that dispatches, and whatever happens to any of them.

`python -m benchmarks.servers` does the same for longer, with more of everything.
"""

import itertools
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from api import keys
from benchmarks.postgres import Postgres, postgres
from tests.conftest import Service
from tests.faults.cluster import Cluster, cluster
from tests.faults.process import ServerProcess
from tests.receiver import Receiver, receiving
from tests.waiting import wait_for

PLACES = 12


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Cluster]:
    """Three servers with API keys, whose only slot is taken until the gate opens."""
    folder = tmp_path_factory.mktemp("busy")
    secrets = {name: keys.add(folder / "keys", name) for name in ("alice", "bob")}
    settings = {"workers": 1, "queue_size": PLACES, "key_queue_size": PLACES - 2, "key_requests_per_minute": 200}
    with cluster(folder, postgres_server, 3, "gated", api_keys_file=folder / "keys", **settings) as servers:
        for server in servers.servers:
            server.headers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in secrets.items()}  # type: ignore[attr-defined]
        yield servers


class Client:
    """Sends requests with a key, each to the next of the servers, as a load balancer does."""

    def __init__(self, servers: list[ServerProcess], key: str | None = None) -> None:
        self.servers, self.key, self.turns = servers, key, itertools.count()

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        server = self.servers[next(self.turns) % len(self.servers)]
        headers = arguments.pop("headers", {}) | (server.headers[self.key] if self.key else {})  # type: ignore[attr-defined]
        return requests.request(method, f"{server.url}/api{path}", headers=headers, timeout=60, **arguments)

    def start(
        self, portrait: Path, speech: Path, *, idempotency: str | None = None, **fields: Any
    ) -> requests.Response:
        files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
        headers = {"Idempotency-Key": idempotency} if idempotency else {}
        data = {"emotion": "happy", "duration": 0.5, **fields}
        return self.ask("POST", "/v1/synthesis/start", files=files, data=data, headers=headers)

    def status(self, task_id: str) -> Any:
        return self.ask("GET", f"/v1/synthesis/{task_id}/status").json()

    def wait(self, task_id: str, *statuses: str, seconds: float = 60) -> Any:
        wanted = statuses or ("COMPLETED", "FAILED")
        return wait_for(lambda: state if (state := self.status(task_id))["status"] in wanted else None, seconds)


def test_the_queue_has_as_many_places_as_were_set(busy: Cluster, portrait: Path, speech: Path) -> None:
    """For all servers together: with keys, with equal requests, and with a request that is sent again."""
    alice, bob = Client(busy.servers, "alice"), Client(busy.servers, "bob")
    first = alice.start(portrait, speech).json()["task_id"]
    alice.wait(first, "PROCESSING")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: alice.start(portrait, speech), range(3 * PLACES)))
        assert Counter(answer.status_code for answer in answers) == {200: PLACES - 2, 429: 2 * PLACES + 2}
        again = list(pool.map(lambda _: bob.start(portrait, speech, idempotency="order 17"), range(6)))
        assert len({answer.json()["task_id"] for answer in again}) == 1
        equal = list(pool.map(lambda _: bob.start(portrait, speech, seed=7), range(6)))
        assert [answer.status_code for answer in equal] == [200] * 6, "they share the last place"
        assert {answer.status_code for answer in pool.map(lambda _: bob.start(portrait, speech), range(6))} == {503}
    assert busy.query("SELECT count(*) FROM renders WHERE status = 'PENDING'") == [(PLACES,)]
    places = [server.health()["queue_length"] for server in busy.servers]
    assert places == [PLACES] * 3
    assert {server.health()["slots_busy"] for server in busy.servers} == {1}
    (busy.folder / "gate").touch()
    for answer in (*again, *equal, *answers):
        if answer.status_code == 200:
            client = bob if answer in again or answer in equal else alice
            assert client.wait(answer.json()["task_id"])["status"] == "COMPLETED"
    assert busy.query("SELECT max(attempts) FROM renders") == [(1,)]


def test_requests_of_one_key_are_counted_by_all(busy: Cluster) -> None:
    """Within a tenth of the limit of 200 a minute; those of the test before are long counted."""
    bob = Client(busy.servers, "bob")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: bob.ask("GET", "/v1/synthesis?limit=1"), range(260)))
    admitted = busy.query("SELECT sum(requests) FROM allowances WHERE owner = 'bob'")
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert 180 <= admitted[0][0] <= 200
    assert all(1 <= int(answer.headers["Retry-After"]) <= 61 for answer in refused)


def test_every_server_does_everything(tmp_path: Path, postgres_server: Postgres, portrait: Path, speech: Path) -> None:
    receiver = Receiver()
    with (
        receiving(receiver),
        cluster(tmp_path, postgres_server, 2, "gated", workers=1, webhook_networks="127.0.0.0/8") as servers,
    ):
        leader, (follower,) = servers.leader(), servers.followers()
        task = follower.submit(portrait, speech, seed=3, callback_url=receiver.url)
        leader.wait(task, "PROCESSING", seconds=20)
        waits = [follower.submit(portrait, speech) for _ in range(3)]
        assert [server.status(waits[1])["queue_position"] for server in servers.servers] == [2, 2]
        for server, name in ((follower, waits[0]), (leader, waits[1])):
            told = requests.post(f"{server.url}/api/v1/synthesis/{name}/cancel", timeout=60).json()
            assert told["cancelled"]
        assert [server.status(waits[2])["queue_position"] for server in servers.servers] == [1, 1]
        for server in servers.servers:
            listed = requests.get(f"{server.url}/api/v1/synthesis?state=PENDING", timeout=60).json()
            assert [one["task_id"] for one in listed["tasks"]] == [waits[2]]
        events = list_events(follower, task)
        (tmp_path / "gate").touch()
        states = events()
        assert states[-1]["status"] == "COMPLETED"
        assert [one["progress"] for one in states] == sorted(one["progress"] for one in states)
        assert follower.download(task).content == leader.download(task).content
        assert receiver.event()["data"]["task_id"] == task
        requests.delete(f"{follower.url}/api/v1/synthesis/{task}", timeout=60)
        assert [server.download(task).status_code for server in servers.servers] == [404, 404]
        wait_for(lambda: task not in leader.render_folders(), seconds=20)
        for server in servers.servers:
            server.wait(waits[2])
            text = requests.get(f"{server.url}/metrics", timeout=60).text
            assert "dice_talk_slots 1.0" in text
        wait_for(lambda: all(server.health()["model_loaded"] for server in servers.servers), seconds=20)
        (tmp_path / "gate").unlink()
        last = follower.submit(portrait, speech)
        leader.wait(last, "PROCESSING", seconds=20)
        assert leader.terminate() == 0
        assert servers.leader(but=leader) is follower
        (tmp_path / "gate").touch()
        assert follower.wait(last, seconds=30)["attempts"] == 1, "the one that was stopped does not count"
    assert len(receiver.received) == 1


def list_events(service: Service, task: str) -> Any:
    """Begin to follow a task; gives what waits for the end and returns all states."""
    states: list[Any] = []

    def follow() -> None:
        with requests.get(f"{service.url}/api/v1/synthesis/{task}/events", stream=True, timeout=60) as answer:
            states.extend(json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: "))

    thread = threading.Thread(target=follow)
    thread.start()

    def end() -> list[Any]:
        thread.join(60)
        return states

    return end


@pytest.mark.parametrize("files", ["folder", "bucket"])
def test_another_server_takes_over(
    tmp_path: Path,
    postgres_server: Postgres,
    portrait: Path,
    speech: Path,
    files: str,
    request: pytest.FixtureRequest,
) -> None:
    """First the one that dispatches is killed in the middle of a render, then the next one hangs in another."""
    receiver = Receiver()
    bucket = {"storage_url": request.getfixturevalue("s3").new_bucket()} if files == "bucket" else {}
    with (
        receiving(receiver),
        cluster(tmp_path, postgres_server, 3, "gated", workers=1, webhook_networks="127.0.0.0/8", **bucket) as servers,
    ):
        first = servers.leader()
        others = [server for server in servers.servers if server is not first]
        client = Client(others)
        tasks = [client.start(portrait, speech, callback_url=receiver.url).json()["task_id"] for _ in range(3)]
        client.wait(tasks[0], "PROCESSING")
        first.kill()
        began = time.monotonic()
        second = servers.leader(but=first)
        wait_for(lambda: client.status(tasks[0])["attempts"] == 2, seconds=20)
        assert time.monotonic() - began < 10
        (third,) = (server for server in others if server is not second)
        second.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert servers.leader(but=second) is third
        assert time.monotonic() - began < 10
        wait_for(lambda: third.status(tasks[0])["attempts"] == 3, seconds=20)
        second.process.send_signal(signal.SIGCONT)  # its engine goes on, and what it says comes too late
        wait_for(lambda: "another server dispatches now" in (second.settings.log_dir / "api.log").read_text(), 20)
        (tmp_path / "gate").touch()
        seen: dict[str, float] = {}
        states = {task: follow_at_all(client, task, seen) for task in tasks}
        assert [state["status"] for state in states.values()] == ["COMPLETED"] * 3
        assert states[tasks[0]]["attempts"] == 3
        assert servers.query("SELECT count(*), count(DISTINCT render_id) FROM made") == [(3, 3)]
        assert sorted(received.id for received in receiver.wait(3)) == sorted(tasks)
        assert all(server.download(task).status_code == 200 for server in others for task in tasks)
        if bucket:
            from api.storage.bucket import Bucket

            # The one that was frozen left nothing of its attempt.
            kept = Bucket(bucket["storage_url"])
            wait_for(lambda: len([key for key in kept.keys("renders/") if key.endswith(".mp4")]) == 3)


def follow_at_all(client: Client, task: str, seen: dict[str, float]) -> Any:
    """Ask one server after the other until the task has ended; its progress never goes back."""
    while (state := client.status(task))["status"] not in ("COMPLETED", "FAILED"):
        assert state["progress"] >= seen.get(task, 0)
        seen[task] = state["progress"]
    return state


def test_the_database_restarts(tmp_path: Path, portrait: Path, speech: Path, postgres_server: Postgres) -> None:
    """Connections that are cut, and a server of the database that is away for a while, cost nothing but time."""
    with postgres() as own, cluster(tmp_path, own, 2, "gated", workers=1) as servers:
        leader = servers.leader()
        running, waiting = (leader.submit(portrait, speech) for _ in range(2))
        leader.wait(running, "PROCESSING")
        own.cut_connections()
        for server in servers.servers:
            wait_for(lambda server=server: server.status(running).get("status") == "PROCESSING", 20)  # type: ignore[misc]
            assert server.start(portrait, speech).status_code == 200
        own.stop()
        for server in servers.servers:
            assert server.health()["detail"] == "The database does not answer"
            assert requests.get(f"{server.url}/api/live", timeout=60).status_code == 200
            answer = server.start(portrait, speech)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert own.password not in server.process.args and own.password not in answer.text  # type: ignore[operator]
        own.start()
        (tmp_path / "gate").touch()
        for server in servers.servers:
            wait_for(lambda server=server: server.health()["status"] == "healthy", 20)  # type: ignore[misc]
            assert server.wait(running, seconds=30)["status"] == "COMPLETED"
            assert server.wait(waiting, seconds=30)["status"] == "COMPLETED"
        assert servers.query("SELECT count(*) FROM renders") == [(4,)]
        wait_for(lambda: servers.query("SELECT count(*) FROM renders WHERE status = 'COMPLETED'") == [(4,)], 30)
        logs = "".join(file.read_text() for file in tmp_path.glob("*/api.log"))
        assert (
            "another server dispatches now" not in logs or servers.query("SELECT max(attempts) FROM renders")[0][0] < 3
        )
        assert own.password not in logs + "".join(file.read_text() for file in tmp_path.glob("output*"))
