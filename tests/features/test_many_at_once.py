"""Many submissions at the same moment."""

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from api.inspection.children import Children
from api.settings import Settings
from tests.forms import HEADERS


@pytest.mark.timeout(300)
def test_of_101_submissions_at_once_exactly_100_may_wait(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated", workers=2)
    for _ in range(2):
        service.wait(service.submit(portrait, speech), "PROCESSING")
    assert service.settings.queue_size == Settings(data_dir=tmp_path).queue_size == 100
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}

    def submit(number: int) -> requests.Response:
        url = f"{service.url}/api/v1/synthesis/start"
        picture = files["image"] + bytes(number % 10)  # ten uploads that are looked at, by a few at a time
        return requests.post(url, files=files | {"image": picture}, data={"emotion": "sad"}, timeout=250)

    with ThreadPoolExecutor(101) as pool:
        answers = list(pool.map(submit, range(101)))
    assert Counter(answer.status_code for answer in answers) == {200: 100, 503: 1}
    positions = [service.status(answer.json()["task_id"])["queue_position"] for answer in answers if answer.ok]
    assert sorted(positions) == list(range(1, 101))
    assert requests.get(f"{service.url}/api/health", timeout=60).json()["queue_length"] == 100
    assert len([name for name in service.files() if name.endswith("/image")]) == 102


def test_a_full_queue_refuses_only_what_needs_a_place(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve("gated", queue_size=1)
    (tmp_path / "gate").touch()
    finished = service.submit(portrait, speech, seed=1)
    assert service.wait(finished)["status"] == "COMPLETED"
    (tmp_path / "gate").unlink()
    running = service.submit(portrait, speech, seed=2)
    service.wait(running, "PROCESSING")
    waiting = service.submit(portrait, speech, seed=3)
    tasks = {1: finished, 2: running, 3: waiting}
    looked = []

    ask = Children.ask

    async def counted(children: Children, module: str, *arguments: str, seconds: float) -> dict[str, Any]:
        looked.append(module)
        return await ask(children, module, *arguments, seconds=seconds)

    monkeypatch.setattr(Children, "ask", counted)
    for seed, task in tasks.items():
        status = service.status(task)["status"]
        retry = requests.post(f"{service.url}/api/v1/synthesis/{task}/retry", timeout=30)
        for answer in (service.start(portrait, speech, seed=seed), retry):
            assert (answer.status_code, answer.json().get("status")) == (200, status)
    for answer in (
        service.start(portrait, speech),
        service.start(portrait, speech, seed=4),
        service.start(portrait, speech, seed=1, fps=9),
        service.start(portrait.read_bytes() + b"\0", speech, seed=1),
        service.start(b"no picture at all", speech, seed=1),
        requests.post(f"{service.url}/api/v1/synthesis/{finished}/retry", json={"emotion": "sad"}, timeout=30),
        requests.post(f"{service.url}/api/v1/synthesis/{running}/retry", json={"seed": None}, timeout=30),
    ):
        assert (answer.status_code, answer.json()["error"]) == (503, "Too many tasks are waiting")
        assert int(answer.headers["retry-after"]) > 0
    assert not looked, "what is refused for want of a place is not decoded first"
    assert service.health()["queue_length"] == 1
    assert not [name for name in service.files() if name.startswith("incoming/")]
    (tmp_path / "gate").touch()
    assert service.wait(waiting)["status"] == "COMPLETED"


def test_a_preflight_needs_no_place(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("gated", queue_size=1)
    service.wait(service.submit(portrait, speech), "PROCESSING")
    service.submit(portrait, speech)
    assert service.start(portrait, speech).status_code == 503
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
    assert requests.post(f"{service.url}/api/v1/preflight", files=files, timeout=60).status_code == 200


@pytest.mark.parametrize("seeded", [False, True])
def test_no_go_ahead_for_an_upload_in_vain(serve: Any, portrait: Path, speech: Path, seeded: bool) -> None:
    """Where nothing can be shared. Else only the whole request tells whether it needs a place."""
    service = serve("gated", queue_size=1)
    service.wait(service.submit(portrait, speech, seed=1 if seeded else None), "PROCESSING")
    service.submit(portrait, speech)
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        kind = f"Content-Type: {HEADERS['Content-Type']}\r\nContent-Length: 60000000\r\nExpect: 100-continue"
        connection.sendall(f"POST /api/v1/synthesis/start HTTP/1.1\r\nHost: x\r\n{kind}\r\n\r\n".encode())
        assert connection.recv(12) == (b"HTTP/1.1 100" if seeded else b"HTTP/1.1 503")


def test_the_twin_of_a_request_that_took_the_last_place(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated", queue_size=1, workers=1)
    service.wait(service.submit(portrait, speech, seed=1), "PROCESSING")
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}

    def submit(_: int) -> requests.Response:
        url, headers = f"{service.url}/api/v1/synthesis/start", {"Idempotency-Key": "one"}
        return requests.post(url, files=files, data={"emotion": "sad"}, headers=headers, timeout=60)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["task_id"] for answer in answers}) == 1


def test_two_servers_on_one_database_give_one_task(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """The lock on admission is of one process; the index is of the database."""
    database = f"sqlite:///{tmp_path / 'shared.db'}"
    services = [serve("gated", data_dir=tmp_path / name, database_url=database) for name in ("a", "b")]
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}

    def submit(number: int) -> requests.Response:
        url, headers = f"{services[number % 2].url}/api/v1/synthesis/start", {"Idempotency-Key": str(number // 4)}
        return requests.post(url, files=files, data={"emotion": "sad"}, headers=headers, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(submit, range(24)))
    assert {answer.status_code for answer in answers} == {200}
    made = [answer.json()["task_id"] for answer in answers]
    assert [len(set(made[start : start + 4])) for start in range(0, 24, 4)] == [1] * 6
    assert len(set(made)) == 6
    folders = [name for service in services for name in service.files() if name.endswith("/image")]
    assert len(folders) == 6, "who came second leaves no files"
