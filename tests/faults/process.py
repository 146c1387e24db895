"""The service as a process of its own, for faults that no thread survives."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from api.settings import Settings
from api.storage.local import KEPT
from benchmarks.serving import free_port
from tests.conftest import ROOT, Service
from tests.waiting import wait_for


@dataclass
class ServerProcess(Service):
    """Its `synthesis` lies in the process and can't be reached."""

    process: subprocess.Popen[bytes] = field(kw_only=True)

    def kill(self) -> None:
        """What a power cut does."""
        self.process.kill()
        self.process.wait()

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(100)

    def engines(self) -> list[int]:
        """Process ids of its engines, also after its own end."""
        return engine_processes(self.settings.data_dir)

    def rows(self, query: str) -> list[Any]:
        """What the database holds, looked at from outside."""
        with closing(sqlite3.connect(self.settings.data_dir / "dice_talk.db")) as database:
            return database.execute(query).fetchall()

    def check_files(self) -> None:
        """No row without files, no file without a row, nothing half done. For a service that has nothing to do."""
        rows = dict(self.rows("SELECT id, status FROM renders"))
        expected = {f"tasks/{render}{file}" for render in rows for file in ("", "/image", "/audio")}
        expected |= {f"tasks/{render}/result.mp4" for render, status in rows.items() if status == "COMPLETED"}
        on_demand = {f"tasks/{render}/{file}" for render in rows for file in KEPT.values()}
        assert set(self.files()) - on_demand == expected
        assert {render for (render,) in self.rows("SELECT render_id FROM tasks")} == set(rows)


def engine_processes(data_dir: Path) -> list[int]:
    """Return the engine processes of all services with that data folder, running or not."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if "worker" in "".join((process.info["cmdline"] or [])[1:3])  # -m, and the module
        and (process.info["environ"] or {}).get("DICE_TALK_DATA_DIR") == str(data_dir)
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Variables that make a server process take these settings."""
    changed = settings.model_dump(mode="json", exclude_unset=True)
    return os.environ | {f"DICE_TALK_{name.upper()}": str(value) for name, value in changed.items()}


@contextmanager
def server_process(
    folder: Path,
    kind: str | None = None,
    *,
    worker: Sequence[str] = (),
    before: Sequence[str] = (),
    variables: dict[str, str] | None = None,
    preexec_fn: Callable[[], None] | None = None,
    output: Path | None = None,
    **changes: Any,
) -> Iterator[ServerProcess]:
    """A server that keeps its data in `folder`, killed at the end when it still runs.

    `kind`: of fake_worker's engine, whose gate is `folder`/gate; or `worker`: the engines' module and its arguments; or
    the real one. `before`: what starts the server. `changes`: settings.
    """
    own: dict[str, Any] = {"port": free_port(), "data_dir": folder / "data", "log_dir": folder / "logs"}
    settings = Settings(**{**own, **changes})
    worker = ["tests.fake_worker", kind, str(folder / "gate")] if kind else worker
    program = ["tests.faults.server", *worker] if worker else ["api.server"]
    with (output or folder / "output").open("ab") as said:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", *program],
            cwd=ROOT,
            env=environment(settings) | (variables or {}),
            stdout=said,
            stderr=said,
            preexec_fn=preexec_fn,
        )
    service = ServerProcess(f"http://127.0.0.1:{settings.port}", settings, None, process=process)  # type: ignore[arg-type]
    try:
        wait_for(lambda: process.poll() is not None or _answers(service.url))
        yield service
    finally:
        service.kill()


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        requests.get(f"{url}/api/health", timeout=60)
        return True
    return False
