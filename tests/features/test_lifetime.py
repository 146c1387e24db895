"""Tasks over crashes of engines, restarts of the service, and time."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from api.clock import Clock
from api.settings import Settings
from tests.conftest import running
from tests.waiting import wait_for

NOW = Clock()


def test_a_slot_survives_an_engine_that_could_not_be_started(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(workers=2)
    pool = service.synthesis._dispatcher.slots[0]._engines
    good = pool._command
    monkeypatch.setattr(pool, "_command", lambda engine: ["/no/such/program"])
    for pid in wait_for(lambda: pids if len(pids := pool.pids()) == 2 else None):
        os.kill(pid, signal.SIGKILL)
    health = f"{service.url}/api/health"
    wait_for(lambda: requests.get(health, timeout=60).json()["status"] == "unhealthy")
    monkeypatch.setattr(pool, "_command", good)
    assert service.wait(service.submit(portrait, speech))["status"] == "COMPLETED"
    wait_for(lambda: requests.get(health, timeout=60).json()["status"] == "healthy")


def test_an_engine_that_cannot_start_makes_the_service_unhealthy(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("unloadable")
    state = service.wait(service.submit(portrait, speech))
    assert state["status"] == "FAILED"
    health = requests.get(f"{service.url}/api/health", timeout=60).json()
    assert (health["status"], health["model_loaded"]) == ("unhealthy", False)
    assert "exited with code 7" in health["detail"]


def test_restart_keeps_finished_and_takes_up_the_rest_in_order(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.1, workers=1)
    gate = tmp_path / "gate"
    with running(settings, "quick", gate) as service:
        finished = service.submit(portrait, speech)
        service.wait(finished)
    with running(settings, "gated", gate) as service:
        tasks = [service.submit(portrait, speech) for _ in range(4)]
        service.wait(tasks[0], "PROCESSING")
    (settings.data_dir / "incoming" / "half").mkdir(parents=True)
    (settings.data_dir / "tasks" / "unknown").mkdir()
    with running(settings, "gated", gate) as service:
        assert service.download(finished).status_code == 200
        assert service.wait(tasks[0], "PROCESSING")["attempts"] == 1, "the restart was not the task's fault"
        assert [service.status(task)["queue_position"] for task in tasks] == [None, 1, 2, 3]
        assert not any("unknown" in name or "half" in name for name in service.files())
        gate.touch()
        ends = [service.wait(task)["updated_at"] for task in tasks]
        assert ends == sorted(ends)
        assert {service.status(task)["status"] for task in tasks} == {"COMPLETED"}


def test_running_tasks_get_time_to_end_at_shutdown(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=20)
    gate = tmp_path / "gate"
    with ExitStack() as stack:
        service = stack.enter_context(running(settings, "gated", gate))
        task = service.submit(portrait, speech)
        service.wait(task, "PROCESSING")
        gate.touch()
    with running(settings, "hangs", gate) as service:
        assert service.status(task)["status"] == "COMPLETED"


def test_old_tasks_are_removed_with_their_files(serve: Any, portrait: Path, speech: Path) -> None:
    now = [datetime(2030, 1, 1, 12)]
    service = serve(clock=lambda: now[0], sweep_seconds=0.1, retention_hours=24)
    old = service.submit(portrait, speech, seed=1)
    assert service.wait(old)["created_at"] == "2030-01-01T12:00:00"
    now[0] += timedelta(hours=23, minutes=59)
    shared = service.submit(portrait, speech, seed=1)
    assert service.download(old).status_code == 200
    now[0] += timedelta(minutes=2)
    removed = f"{service.url}/api/v1/synthesis/{old}/status"
    wait_for(lambda: requests.get(removed, timeout=60).status_code == 404)
    assert requests.get(removed, timeout=60).json() == {"error": "Task not found", "code": "task_not_found"}
    assert service.download(shared).status_code == 200, "a later task keeps the video it shares"
    now[0] += timedelta(hours=24)
    wait_for(lambda: not service.files())
    assert service.download(shared).status_code == 404


def test_tasks_that_wait_or_run_are_never_too_old(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    now = [datetime(2030, 1, 1, 12)]
    service = serve("gated", clock=lambda: now[0], sweep_seconds=0.05)
    tasks = [service.submit(portrait, speech) for _ in range(2)]
    service.wait(tasks[0], "PROCESSING")
    now[0] += timedelta(days=3)
    assert service.wait(tasks[1], "PENDING")
    (tmp_path / "gate").touch()
    for task in tasks:
        assert service.wait(task)["status"] == "COMPLETED"


def test_as_many_as_may_wait_are_accepted_and_not_one_more(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated", workers=2, queue_size=10)
    for task in [service.submit(portrait, speech) for _ in range(2)]:
        service.wait(task, "PROCESSING")
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: service.start(portrait, speech).status_code, range(16)))
    assert sorted(codes) == [200] * 10 + [503] * 6
    (tmp_path / "gate").touch()
