import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI

from api.app import create_app
from api.rendering.cluster.slots import DRIVER
from api.server import http_server
from api.service.synthesis import Synthesis
from api.settings import Settings
from benchmarks.postgres import Postgres, postgres, programs
from tests.s3 import S3Server, s3_server
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent
NO_OBSTORE = "the package for object stores is not installed: ./start_server.sh install objects"
NO_TORCH = "the diffusion engine's packages are not installed: ./start_server.sh install diffusion"


LONGEST = (
    "faults/test_kill.py",
    "diffusion/test_http.py",
    "test_acceptance.py",
    "cluster/test_cluster.py",
    "diffusion/test_peers.py",
    "diffusion/test_compiled.py",
    "faults/test_servers.py",
    "faults/test_engines.py",
    "faults/test_resume.py",
    "page/test_path.py",
    "page/test_errors.py",
    "page/test_looks.py",
    "page/test_stage.py",
    "page/test_choices.py",
    "page/test_eight.py",
    "deploy/test_proxies.py",
    "lite/test_portraits.py",
    "hostile/test_openapi.py",
    "diffusion/test_engine.py",
    "diffusion/test_forms.py",
    "diffusion/test_repeat.py",
    "test_engine_contract.py",
    "faults/test_webhooks.py",
    "faults/test_disk.py",
    "faults/test_children.py",
    "features/test_lifetime.py",
    "api/inspection/test_semaphore.py",
    "hostile/test_task_life.py",
    "deploy/test_page.py",
    "faults/test_shutdown.py",
    "test_engine_example.py",
    "faults/test_store_away.py",
    "features/test_object_store.py",
    "deploy/test_cluster.py",
)
"""Files whose tests take half a minute or more together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the longest files as slow, and put them first: else, where several processes share the work,
    one of them ends long after the others.
    """
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONGEST)}
    for item in items:
        if item.path in ranks:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests; each makes a database of its own in it."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: ./start_server.sh install postgres")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def portrait() -> Path:
    return ROOT / "examples" / "portrait.jpg"


@pytest.fixture(scope="session")
def speech() -> Path:
    return ROOT / "examples" / "speech.wav"


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder of tiny random weights."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from dice_talk.diffusion.tiny import make_tiny_checkpoints

    folder = tmp_path_factory.mktemp("checkpoints")
    make_tiny_checkpoints(folder)
    return folder


@dataclass
class Service:
    """A running server and a client for it."""

    url: str
    settings: Settings
    synthesis: Synthesis
    app: FastAPI | None = None  # out of reach where it runs in another process

    def start(self, portrait: Any, speech: Any, **fields: Any) -> requests.Response:
        """Submit like the documented client: files without names or types."""
        image = portrait.read_bytes() if isinstance(portrait, Path) else portrait
        audio = speech.read_bytes() if isinstance(speech, Path) else speech
        data = {"emotion": "happy", "duration": 0.5, **fields}
        data = {name: value for name, value in data.items() if value is not None}
        return requests.post(
            f"{self.url}/api/v1/synthesis/start", files={"image": image, "audio": audio}, data=data, timeout=30
        )

    def submit(self, portrait: Any, speech: Any, **fields: Any) -> str:
        answer = self.start(portrait, speech, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def status(self, task_id: str) -> Any:
        return requests.get(f"{self.url}/api/v1/synthesis/{task_id}/status", timeout=60).json()

    def health(self) -> Any:
        return requests.get(f"{self.url}/api/health", timeout=60).json()

    def download(self, task_id: str, **headers: str | bytes) -> requests.Response:
        return requests.get(f"{self.url}/api/v1/synthesis/{task_id}/download", headers=headers, timeout=60)

    def wait(self, task_id: str, *statuses: str, seconds: float = 180) -> Any:
        """The status once it is one of `statuses`; COMPLETED or FAILED where none is named."""
        return wait_for(
            lambda: (
                state if (state := self.status(task_id))["status"] in (statuses or ("COMPLETED", "FAILED")) else None
            ),
            seconds,
        )

    def files(self) -> list[str]:
        """Everything below tasks/ and incoming/ in the data folder."""
        folder = self.settings.data_dir
        return sorted(
            os.path.relpath(os.path.join(place, name), folder)  # noqa: PTH118 - a pair of texts
            for top in ("tasks", "incoming")
            for place, folders, files in os.walk(folder / top)  # which takes it well when a folder goes meanwhile
            for name in (*folders, *files)
        )

    def render_folders(self) -> set[str]:
        """The names of the folders below tasks/."""
        return {name.split("/")[1] for name in self.files() if name.startswith("tasks/")}


@contextmanager
def running(
    settings: Settings,
    kind: str | None,
    gate: Path,
    clock: Callable[[], datetime] | None = None,
    driver: Sequence[str] = DRIVER,
) -> Iterator[Service]:
    def command(engine: str) -> list[str]:
        return [sys.executable, "-m", "tests.fake_worker", str(kind), str(gate)]

    app = create_app(settings, clock=clock, command=command if kind else None, driver=driver)
    listener = socket.create_server(("127.0.0.1", 0))
    server = http_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", settings, app.state.services.synthesis, app)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start servers that are stopped when the test ends: serve(kind="quick", **settings).

    `kind`: see fake_worker; None for the real engines. `gate`: the file that "gated" waits for.
    """
    with ExitStack() as stack:

        def start(kind: str | None = "quick", clock: Callable[[], datetime] | None = None, **changes: Any) -> Service:
            defaults = {
                "data_dir": tmp_path / "data",
                "log_dir": tmp_path / "logs",
                "workers": 1,  # each starts an engine process, and few tests need two
                "shutdown_seconds": 0.1,
            }
            settings = Settings(**{**defaults, **changes})
            return stack.enter_context(running(settings, kind, tmp_path / "gate", clock))

        yield start


@pytest.fixture(scope="session")
def real_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One server with the real lite engine, shared by the tests that only need it to work."""
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(data_dir=folder / "data", log_dir=folder / "logs", shutdown_seconds=0.1)
    with running(settings, None, folder / "gate") as service:
        yield service


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    """One S3 server for all tests that need one."""
    pytest.importorskip("obstore", reason=NO_OBSTORE)
    pytest.importorskip("moto", reason="moto has no wheels for this machine")
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 server to which the environment leads."""
    for name, value in s3_process.variables.items():
        monkeypatch.setenv(name, value)
    return s3_process
