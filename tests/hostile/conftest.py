"""One server for the whole folder, and what must hold after every test that attacks it."""

import json
import os
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from api.rendering.local import LocalSlot
from api.settings import Settings
from tests.conftest import Service, running
from tests.error_bodies import check_error
from tests.waiting import wait_for

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc to look into")
START = "/api/v1/synthesis/start"
UPLOAD_S = 2.0
"""How long an upload may take at the shared server."""


class Answer:
    """What came back over a raw socket."""

    def __init__(self, connection: socket.socket, method: str = "POST") -> None:
        response = HTTPResponse(connection, method=method)
        response.begin()
        self.status, self.headers, self.body = response.status, response.headers, response.read()


def connect(server: Service) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def exchange(server: Service, request: bytes) -> Answer:
    """The first answer to bytes sent as they are."""
    with connect(server) as connection:
        connection.sendall(request)
        return Answer(connection)


def refused(answer: Any, *statuses: int) -> str:
    """The message of a 4xx, after checking that it has the documented form and says nothing of the inside."""
    status = answer.status if isinstance(answer, Answer) else answer.status_code
    body = answer.body if isinstance(answer, Answer) else answer.content
    assert status in (statuses or range(400, 500)), (status, body[:500])
    assert answer.headers["content-type"] == "application/json"
    error = json.loads(body)
    check_error(error, status)
    assert isinstance(error["error"], str)
    for inside in (b"Traceback", b"/tmp", b"site-packages", b".py", b"root:"):
        assert inside not in body
    return str(error["error"])


class Watch:
    """What must not change: the engines' processes, the empty staging folder, and that honest requests work."""

    def __init__(self, service: Service, portrait: Path, speech: Path) -> None:
        self.service, self.portrait, self.speech = service, portrait, speech
        self.engines = wait_for(self._engines)
        self.finished = self.honest_upload()

    def _engines(self) -> list[int]:
        slot = self.service.synthesis._dispatcher.slots[0]
        assert isinstance(slot, LocalSlot)
        engines = slot._engines.pids()
        return engines if len(engines) == self.service.settings.workers else []

    def nothing_left(self) -> None:
        """Cheap: no file, no upload and no engine is lost, and a video can be had."""
        wait_for(lambda: not self.staged() and not self.service.synthesis._admission.uploads)
        assert self._engines() == self.engines, "an engine died"
        assert requests.get(f"{self.service.url}/api/health", timeout=60).json()["status"] == "healthy"
        assert len(self.service.download(self.finished).content) > 1000

    def honest_upload(self) -> str:
        """With a seed: rendered once, so that each further one costs no more than its inspection."""
        task = self.service.submit(self.portrait, self.speech, seed=1, duration=0.2)
        assert self.service.wait(task)["status"] == "COMPLETED"
        return task

    def staged(self) -> list[str]:
        """Files of uploads that are not accepted yet."""
        return [name for name in self.service.files() if name.startswith("incoming/")]


@pytest.fixture(scope="session")
def watch(tmp_path_factory: pytest.TempPathFactory, portrait: Path, speech: Path) -> Iterator[Watch]:
    """The shared server with quick engines, small files, and short uploads."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = Settings(
        data_dir=folder / "data",
        log_dir=folder / "logs",
        shutdown_seconds=0.1,
        max_image_mb=1,
        max_audio_mb=8,
        upload_seconds=UPLOAD_S,
    )
    with running(settings, "quick", folder / "gate") as service:
        yield Watch(service, portrait, speech)


@pytest.fixture
def server(watch: Watch) -> Iterator[Service]:
    """The shared server; after the test it has to be as it was before."""
    yield watch.service
    watch.nothing_left()


@pytest.fixture
def then_honest(watch: Watch) -> Iterator[None]:
    """After the test, somebody else's upload is taken, inspected and rendered."""
    yield
    watch.honest_upload()


@pytest.fixture(scope="module")
def honest_at_the_end(watch: Watch) -> Iterator[None]:
    """The same once for all tests of a module: for those in which no file gets as far as its inspection."""
    yield
    watch.honest_upload()


def open_files(path: Path) -> int:
    """How many descriptors of this process, the server's own, are of that file."""
    links = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    return links.count(str(path))
