"""Tasks over crashes of engines, restarts of the service, and time."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from api.dispatcher import ProgressLog
from api.server import StartError, create_app
from api.settings import Settings
from api.store import TaskStore, sqlite_url
from api.tasks import Render, Task, TaskStatus, utc_now
from dice_talk.engine import Progress
from dice_talk.options import RenderOptions
from tests.conftest import running
from tests.waiting import wait_for


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    store = TaskStore(sqlite_url(tmp_path / "a #strange? name.db"))
    yield store
    store.close()


def make_render(render_id: str) -> Render:
    options = RenderOptions(emotion="sad", seed=1)
    return Render(render_id, options, "lite", None, 1.0, created_at=utc_now(), updated_at=utc_now())


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
    assert not any(name.endswith(".part") for name in service.files())


def test_progress_does_not_go_back_over_attempts(store: TaskStore) -> None:
    render = store.add(Task("t", utc_now(), make_render("t"))).id
    now = utc_now()
    for status, told, kept in (
        (TaskStatus.PROCESSING, 0.7, 0.7),
        (TaskStatus.PENDING, 0.0, 0.7),
        (TaskStatus.PROCESSING, 0.1, 0.7),
        (TaskStatus.COMPLETED, 1.0, 1.0),
    ):
        assert store.update(render, status, progress=told, updated_at=now)
        found = store.render(render)
        assert found
        assert (found.status, found.progress) == (status, kept)
    assert not store.update(render, TaskStatus.PROCESSING, progress=0.2, updated_at=now), "what is final stays"


def test_before_the_file_is_there_progress_is_less_than_one(store: TaskStore) -> None:
    render = store.add(Task("t", utc_now(), make_render("t"))).id
    store.update(render, TaskStatus.PROCESSING)
    asyncio.run(ProgressLog(store, render, utc_now)(Progress("render", "...", 1.0)))
    found = store.render(render)
    assert found
    assert found.progress == 0.99


def test_an_idle_engine_that_dies_is_replaced(serve: Any) -> None:
    service = serve()
    pool = service.synthesis._dispatcher.engines
    before = wait_for(lambda: pids if len(pids := pool.pids()) == 2 else None)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    after = wait_for(lambda: pids if len(pids := pool.pids()) == 2 and not set(pids) & set(before) else None)
    assert len(after) == 2


def test_a_slot_survives_an_engine_that_could_not_be_started(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    pool = service.synthesis._dispatcher.engines
    good = pool._command
    monkeypatch.setattr(pool, "_command", lambda engine: ["/no/such/program"])
    for pid in wait_for(lambda: pids if len(pids := pool.pids()) == 2 else None):
        os.kill(pid, signal.SIGKILL)
    health = f"{service.url}/api/health"
    wait_for(lambda: requests.get(health, timeout=5).json()["status"] == "unhealthy")
    monkeypatch.setattr(pool, "_command", good)
    assert service.wait(service.submit(portrait, speech))["status"] == "COMPLETED"
    wait_for(lambda: requests.get(health, timeout=5).json()["status"] == "healthy")


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
    wait_for(lambda: requests.get(removed, timeout=5).status_code == 404)
    assert requests.get(removed, timeout=5).json() == {"error": "Task not found"}
    assert service.download(shared).status_code == 200, "a later task keeps the video it shares"
    now[0] += timedelta(hours=24)
    wait_for(lambda: not service.files())
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
    with pytest.raises(StartError, match="has version 99, this release reads 2"):
        create_app(settings)
