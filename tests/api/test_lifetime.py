"""Tasks over crashes of engines, restarts of the service, and time."""

import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from api.server import StartError, create_app
from api.settings import Settings
from api.store import TaskStore
from api.tasks import utc_now
from tests.conftest import running


@pytest.mark.parametrize("kind", ["exits", "raises", "segfaults"])
def test_a_task_is_tried_three_times(serve: Any, portrait: Path, speech: Path, kind: str) -> None:
    service = serve(kind, workers=1)
    state = service.wait(service.submit(portrait, speech))
    assert (state["status"], state["attempts"]) == ("FAILED", 3)
    assert state["message"].startswith("Rendering failed 3 times; last: the engine")
    assert requests.get(f"{service.url}/api/health", timeout=5).json()["slots_busy"] == 0


def test_a_task_whose_engine_dies_once_completes(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("flaky", workers=1)
    state = service.wait(service.submit(portrait, speech))
    assert (state["status"], state["attempts"]) == ("COMPLETED", 2)


def test_a_kill_costs_only_its_own_slot(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", attempts=2)
    tasks = [service.submit(portrait, speech) for _ in range(2)]
    for task in tasks:
        service.wait(task, "PROCESSING")
    os.kill(service.synthesis._dispatcher.engines.pids()[0], signal.SIGKILL)
    (tmp_path / "gate").touch()
    assert sorted(service.wait(task)["attempts"] for task in tasks) == [1, 2]
    assert {service.status(task)["status"] for task in tasks} == {"COMPLETED"}


def test_an_engine_that_cannot_start_makes_the_service_unhealthy(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("unloadable")
    state = service.wait(service.submit(portrait, speech))
    assert state["status"] == "FAILED"
    health = requests.get(f"{service.url}/api/health", timeout=5).json()
    assert (health["status"], health["model_loaded"]) == ("unhealthy", False)
    assert "exited with code 7" in health["detail"]


def test_restart_keeps_finished_and_takes_up_the_rest_in_order(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.1, workers=1)
    gate = tmp_path / "gate"
    with running(settings, "quick", gate, utc_now) as service:
        finished = service.submit(portrait, speech)
        service.wait(finished)
    with running(settings, "gated", gate, utc_now) as service:
        tasks = [service.submit(portrait, speech) for _ in range(4)]
        service.wait(tasks[0], "PROCESSING")
    (settings.data_dir / "incoming" / "half").mkdir(parents=True)
    (settings.data_dir / "tasks" / "unknown").mkdir()
    with running(settings, "gated", gate, utc_now) as service:
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
        service = stack.enter_context(running(settings, "gated", gate, utc_now))
        task = service.submit(portrait, speech)
        service.wait(task, "PROCESSING")
        gate.touch()
    with running(settings, "hangs", gate, utc_now) as service:
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
    while requests.get(removed, timeout=5).status_code != 404:
        pass
    assert requests.get(removed, timeout=5).json() == {"error": "Task not found"}
    assert service.download(shared).status_code == 200, "a later task keeps the video it shares"
    now[0] += timedelta(hours=24)
    while service.files():
        pass
    assert service.download(shared).status_code == 404


def test_tasks_that_wait_or_run_are_never_too_old(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    now = [datetime(2030, 1, 1, 12)]
    service = serve("gated", clock=lambda: now[0], workers=1, sweep_seconds=0.05)
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
    service = serve("gated", queue_size=10)
    for task in [service.submit(portrait, speech) for _ in range(2)]:
        service.wait(task, "PROCESSING")
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: service.start(portrait, speech).status_code, range(16)))
    assert sorted(codes) == [200] * 10 + [503] * 6
    (tmp_path / "gate").touch()


def test_a_second_server_on_the_same_data_is_refused(serve: Any) -> None:
    service = serve()
    with pytest.raises(StartError, match="another server uses the data folder"):
        create_app(service.settings)


def test_a_broken_or_newer_database_is_refused_and_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    file = tmp_path / "dice_talk.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(StartError, match="cannot be opened"):
        create_app(settings)
    assert file.read_bytes().startswith(b"not a database")
    file.unlink()
    TaskStore(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE schema_version SET version = 99")
        database.commit()
    with pytest.raises(StartError, match="has version 99, this release reads 1"):
        create_app(settings)
