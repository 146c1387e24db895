"""Cancelling, removing, repeating and listing tasks, over real HTTP."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from api.settings import Settings
from tests.conftest import Service, running
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for

JSON = {"content-type": "application/json"}


class Calls:
    """The calls of one service."""

    def __init__(self, service: Service, key: str | None = None) -> None:
        self.service = service
        self.base = f"{service.url}/api/v1/synthesis"
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def cancel(self, task: str) -> requests.Response:
        return requests.post(f"{self.base}/{task}/cancel", headers=self.headers, timeout=20)

    def remove(self, task: str) -> requests.Response:
        return requests.delete(f"{self.base}/{task}", headers=self.headers, timeout=20)

    def retry(self, task: str, **body: Any) -> requests.Response:
        return requests.post(f"{self.base}/{task}/retry", headers=self.headers, timeout=20, **body)

    def page(self, **query: Any) -> Any:
        answer = requests.get(self.base, params=query, headers=self.headers, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, portrait: Path, speech: Path, key: str | None, **fields: Any) -> requests.Response:
        files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
        headers = {**self.headers, **({"Idempotency-Key": key} if key is not None else {})}
        data = {"emotion": "happy", "duration": 0.5, **fields}
        return requests.post(f"{self.base}/start", files=files, data=data, headers=headers, timeout=30)


def check_cancelled(state: Any) -> None:
    assert (state["status"], state["message"], state["stage"]) == ("FAILED", "Cancelled", "cancelled")
    assert (state["cancelled"], state["queue_position"], state["eta_seconds"]) == (True, None, None)
    assert state["progress"] < 1


def idle(service: Service) -> bool:
    health = service.health()
    return bool(health["slots_busy"] == 0 and health["queue_length"] == 0)


def rows(service: Service, table: str) -> int:
    with closing(sqlite3.connect(service.settings.data_dir / "dice_talk.db")) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# Cancelling


def test_a_waiting_task_is_cancelled_at_once(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", queue_size=2)
    calls = Calls(service)
    running_one = service.submit(portrait, speech)
    service.wait(running_one, "PROCESSING")
    first, second = (service.submit(portrait, speech) for _ in range(2))
    assert service.start(portrait, speech).status_code == 503
    answer = calls.cancel(first)
    assert answer.status_code == 200
    check_cancelled(answer.json())
    assert service.status(first) == answer.json()
    assert service.status(second)["queue_position"] == 1
    assert service.health()["queue_length"] == 1, "its place is free"
    third = service.submit(portrait, speech)
    again = calls.cancel(first)
    assert (again.status_code, error_of(again)) == (409, "The task has ended already")
    (tmp_path / "gate").touch()
    for task in (running_one, second, third):
        assert service.wait(task)["status"] == "COMPLETED"
    check_cancelled(service.status(first))
    assert calls.cancel(third).status_code == 409
    refused = service.download(first)
    assert (refused.status_code, refused.json()["detail"]) == (400, "It failed: Cancelled")


def test_a_running_task_stops_and_its_process_goes_on(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.rendering.engine_process.CANCEL_SECONDS", 600)
    service = serve("gated")
    calls = Calls(service)
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    pids = service.synthesis._dispatcher.slots[0]._engines.pids()
    check_cancelled(calls.cancel(task).json())
    wait_for(lambda: idle(service))
    assert sorted(service.files()) == [f"tasks/{task}", f"tasks/{task}/audio", f"tasks/{task}/image"]
    assert service.synthesis._dispatcher.slots[0]._engines.pids() == pids
    (tmp_path / "gate").touch()
    assert service.wait(service.submit(portrait, speech))["status"] == "COMPLETED"
    check_cancelled(service.status(task))


def test_one_of_several_that_share_a_render(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    calls = Calls(service)
    first, second, third = (service.submit(portrait, speech, seed=5) for _ in range(3))
    service.wait(second, "PROCESSING")
    check_cancelled(calls.cancel(first).json())
    check_cancelled(calls.cancel(third).json())
    frozen = service.status(first)
    assert service.status(second)["status"] == "PROCESSING"
    (tmp_path / "gate").touch()
    assert service.wait(second)["status"] == "COMPLETED"
    assert service.status(first) == frozen, "what has ended stays as it ended"
    assert service.download(first).status_code == 400
    assert service.download(second).status_code == 200


def test_when_all_who_share_a_render_cancel_it_stops(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    calls = Calls(service)
    tasks = [service.submit(portrait, speech, seed=5) for _ in range(3)]
    service.wait(tasks[0], "PROCESSING")
    with ThreadPoolExecutor(3) as pool:
        assert {answer.status_code for answer in pool.map(calls.cancel, tasks)} == {200}
    wait_for(lambda: idle(service))
    (tmp_path / "gate").touch()
    again = service.submit(portrait, speech, seed=5)
    assert service.wait(again)["status"] == "COMPLETED", "what was cancelled is not shared"
    assert service.render_folders() == {tasks[0], again}


def test_cancelled_stays_cancelled_over_a_restart(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.1, workers=1)
    with running(settings, "gated", tmp_path / "gate") as service:
        tasks = [service.submit(portrait, speech) for _ in range(3)]
        service.wait(tasks[0], "PROCESSING")
        states = [Calls(service).cancel(task).json() for task in tasks[:2]]
    (tmp_path / "gate").touch()
    with running(settings, "gated", tmp_path / "gate") as service:
        assert service.wait(tasks[2])["status"] == "COMPLETED"
        assert [service.status(task) for task in tasks[:2]] == states
        assert service.health()["queue_length"] == 0


def test_an_engine_that_does_not_listen_is_replaced(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.rendering.engine_process.CANCEL_SECONDS", 0.3)
    service = serve("hangs")
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    check_cancelled(Calls(service).cancel(task).json())
    wait_for(lambda: idle(service))
    wait_for(lambda: service.health()["model_loaded"])
    assert service.status(task)["attempts"] == 1


def test_at_any_moment_of_a_short_task(serve: Any, portrait: Path, speech: Path) -> None:
    """Cancelled or done, never both, and no file that does not belong."""
    service = serve()
    calls = Calls(service)
    tasks = [service.submit(portrait, speech) for _ in range(12)]
    for number, task in enumerate(tasks):
        wait_for(lambda task=task: service.status(task)["status"] != "PENDING")  # type: ignore[misc]
        wait_for(lambda task=task, share=number / 12: service.status(task)["progress"] >= share)  # type: ignore[misc]
        answer = calls.cancel(task)
        assert answer.status_code in (200, 409)
        assert (service.wait(task)["status"] == "COMPLETED") == (answer.status_code == 409)
    wait_for(lambda: idle(service))
    wait_for(lambda: not any(name.endswith(".part") for name in service.files()))
    for task in tasks:
        done = service.status(task)["status"] == "COMPLETED"
        assert (f"tasks/{task}/result.mp4" in service.files()) == done


# Removing


@pytest.mark.parametrize("when", ["waiting", "running", "done", "cancelled"])
def test_removing_leaves_nothing(serve: Any, portrait: Path, speech: Path, tmp_path: Path, when: str) -> None:
    service = serve("gated")
    calls = Calls(service)
    before = service.submit(portrait, speech)
    service.wait(before, "PROCESSING")
    task = service.submit(portrait, speech) if when == "waiting" else before
    if when == "done":
        (tmp_path / "gate").touch()
        service.wait(task)
    if when == "cancelled":
        calls.cancel(task)
    answer = calls.remove(task)
    assert (answer.status_code, answer.content) == (204, b"")
    assert task not in service.render_folders()
    assert rows(service, "renders") == rows(service, "tasks") == (1 if when == "waiting" else 0)
    for gone in (calls.remove(task), calls.cancel(task), calls.retry(task), service.download(task)):
        assert (gone.status_code, error_of(gone)) == (404, "Task not found")
    (tmp_path / "gate").touch()
    assert service.wait(service.submit(portrait, speech))["status"] == "COMPLETED"


def test_a_shared_video_stays_for_the_others(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    calls = Calls(service)
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    second = service.submit(portrait, speech, seed=5)
    assert calls.remove(first).status_code == 204
    assert service.download(second).status_code == 200
    assert service.render_folders() == {first}
    assert calls.remove(second).status_code == 204
    assert service.files() == []


def test_removing_what_hangs_goes_at_once_and_its_files_later(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.service.synthesis.RELEASE_S", 0.1)
    monkeypatch.setattr("api.rendering.engine_process.CANCEL_SECONDS", 2)
    service = serve("hangs", sweep_seconds=0.2)
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    assert Calls(service).remove(task).status_code == 204
    assert Calls(service).cancel(task).status_code == 404
    assert service.render_folders() == {task}
    wait_for(lambda: not service.files() and rows(service, "renders") == 0)


# Trying again


def test_a_retry_takes_the_same_files_and_other_options(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    calls = Calls(service)
    first = service.submit(portrait, speech, fps=30, seed=3)
    service.wait(first)
    json_one = calls.retry(first, json={"emotion": "sad", "duration": 0.3})
    assert (json_one.status_code, json_one.json()["message"]) == (200, "Task created successfully")
    urlencoded = calls.retry(first, data={"emotion": "angry", "fps": ""}).json()["task_id"]
    multipart = calls.retry(first, files={"emotion": (None, "fear"), "seed": (None, "9")}).json()["task_id"]
    states = {task: service.wait(task) for task in (json_one.json()["task_id"], urlencoded, multipart)}
    assert [(state["duration"], state["seed"]) for state in states.values()] == [(0.3, 3), (0.5, 3), (0.5, 9)]
    with closing(sqlite3.connect(service.settings.data_dir / "dice_talk.db")) as database:
        stored = [json.loads(text) for (text,) in database.execute("SELECT options FROM renders ORDER BY number")]
    assert [(options["emotion"], options["fps"]) for options in stored] == [
        ("happy", 30),
        ("sad", 30),
        ("angry", 30),
        ("fear", 30),
    ]
    image = service.settings.data_dir / "tasks" / first / "image"
    assert image.stat().st_nlink == 4, "no bytes are copied"
    calls.remove(first)
    assert service.download(multipart).status_code == 200
    assert (service.settings.data_dir / "tasks" / multipart / "image").read_bytes() == portrait.read_bytes()


def test_a_retry_without_a_change(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    calls = Calls(service)
    seeded, drawn = service.submit(portrait, speech, seed=3), service.submit(portrait, speech)
    for task in (seeded, drawn):
        service.wait(task)
    assert calls.retry(seeded).json()["status"] == "COMPLETED", "the same seed gives the same video"
    another = calls.retry(drawn).json()
    assert another["status"] == "PENDING"
    assert service.wait(another["task_id"])["seed"] != service.status(drawn)["seed"]
    assert not any(name.startswith("incoming/") for name in service.files())


@pytest.mark.parametrize("end", ["refused", "cancelled"])
def test_what_failed_can_be_tried_again(serve: Any, portrait: Path, speech: Path, tmp_path: Path, end: str) -> None:
    service = serve("gated" if end == "cancelled" else "refuses")
    calls = Calls(service)
    task = service.submit(portrait, speech, seed=1)
    if end == "cancelled":
        calls.cancel(task)
    state = service.wait(task)
    (tmp_path / "gate").touch()
    again = calls.retry(task).json()["task_id"]
    assert service.wait(again)["status"] == ("COMPLETED" if end == "cancelled" else "FAILED")
    assert service.status(task) == state


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"json": {"fps": 99}}, 400, "fps must be between 8 and 60, got 99"),
        ({"data": {"emotion": "glad"}}, 422, "emotion is not one of the known values"),
        ({"json": {"colour": "red"}}, 422, "Unknown form field: colour"),
        ({"json": ["sad"]}, 422, "The request can't be read"),
        ({"data": "[" * 100_000, "headers": {"content-type": "application/json"}}, 422, "The request can't be read"),
        ({"data": "x" * 600_000, "headers": {"content-type": "application/json"}}, 413, "The request is too large"),
        ({"data": "<x/>", "headers": {"content-type": "text/xml"}}, 422, "The request is neither a form nor JSON"),
        ({"data": [("fps", "24"), ("fps", "25")]}, 422, "fps was sent twice"),
        ({"data": [("fps", ""), ("fps", "25")]}, 422, "fps was sent twice"),
        ({"data": '{"fps": 24, "fps": 24}', "headers": JSON}, 422, "fps was sent twice"),
        ({"data": '{"seed": 1, "\\u0073eed": 2}', "headers": JSON}, 422, "seed was sent twice"),
        ({"data": '{"seed": {"a": [{"b": 1, "b": 1}]}}', "headers": JSON}, 422, "b was sent twice"),
        ({"data": "{" + '"a": {' * 100 + "}" * 100 + "}", "headers": JSON}, 422, "Unknown form field: a"),
        ({"data": '{"seed": "\\ud800"}', "headers": JSON}, 422, "The request can't be read"),
        ({"data": "\ufeff{}".encode(), "headers": JSON}, 422, "The request can't be read"),
        ({"data": {"quality": ""}}, 422, "quality is not one of the known values"),
        ({"files": {"quality": (None, "")}}, 422, "quality is not one of the known values"),
        ({"json": {"quality": ""}}, 422, "quality is not one of the known values"),
        ({"data": {"emotion": ""}}, 422, "emotion is not one of the known values"),
        ({"data": {"engine": ""}}, 422, "engine is not one of the known values"),
        ({"data": {"colour": ""}}, 422, "Unknown form field: colour"),
        ({"files": {"image": b"x"}}, 422, "Unknown form field: image"),
        ({"json": {"engine": "diffusion"}}, 400, "Engine 'diffusion' is not available on this server"),
    ],
)
def test_a_retry_that_is_refused(
    real_service: Any, portrait: Path, speech: Path, body: Any, status: int, message: str
) -> None:
    calls = Calls(real_service)
    (task,) = [state["task_id"] for state in calls.page(limit=1)["tasks"]] or [real_service.submit(portrait, speech)]
    headers = body.pop("headers", {})
    answer = requests.post(f"{calls.base}/{task}/retry", headers=headers, timeout=20, **body)
    assert (answer.status_code, error_of(answer)) == (status, message)
    assert not any(name.startswith("incoming/") for name in real_service.files())


# Listing


def test_pages_of_tasks_newest_first(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("gated")
    calls = Calls(service)
    tasks = [service.submit(portrait, speech) for _ in range(7)]
    service.wait(tasks[0], "PROCESSING")
    calls.cancel(tasks[3])
    first = calls.page(limit=3)
    assert [state["task_id"] for state in first["tasks"]] == tasks[:3:-1]
    later = {"eta_seconds": service.status(tasks[6])["eta_seconds"]}
    assert first["tasks"][0] | later == service.status(tasks[6]) | later, "as its status says"
    service.submit(portrait, speech)
    second = calls.page(limit=3, cursor=first["next_cursor"])
    assert [state["task_id"] for state in second["tasks"]] == tasks[3:0:-1], "new tasks shift no page"
    third = calls.page(limit=3, cursor=second["next_cursor"])
    assert ([state["task_id"] for state in third["tasks"]], third["next_cursor"]) == ([tasks[0]], None)
    assert [state["task_id"] for state in calls.page(state="FAILED")["tasks"]] == [tasks[3]]
    assert len(calls.page(state=["PENDING", "PROCESSING"])["tasks"]) == 7
    assert calls.page(state="COMPLETED") == {"tasks": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"limit": 0}, 400, "limit must be between 1 and 100, got 0"),
        ({"limit": "many"}, 422, "limit must be a whole number"),
        ({"state": "DONE"}, 422, "state is not one of the known values"),
        ({"cursor": "nonsense"}, 400, "The cursor is not one of this server"),
        ({"cursor": "é\n"}, 400, "The cursor is not one of this server"),
    ],
)
def test_a_list_that_is_refused(real_service: Any, query: Any, status: int, message: str) -> None:
    answer = requests.get(f"{real_service.url}/api/v1/synthesis", params=query, timeout=60)
    assert (answer.status_code, error_of(answer)) == (status, message)


# Idempotency-Key


def test_a_repeated_request_gives_the_same_task(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", queue_size=1)
    calls = Calls(service)
    first = calls.start(portrait, speech, "order 17").json()["task_id"]
    service.wait(first, "PROCESSING")
    waiting = calls.start(portrait, speech, "order 18").json()["task_id"]
    repeated = calls.start(portrait, speech, "order 18")
    assert (repeated.status_code, repeated.json()["task_id"]) == (200, waiting), "also when the queue is full"
    assert calls.start(portrait, speech, "order 19").status_code == 503
    another = calls.start(portrait, speech, "order 18", emotion="sad")
    assert (another.status_code, error_of(another)) == (409, "The Idempotency-Key was used for another request")
    assert calls.start(speech, portrait, "order 18").status_code == 409
    (tmp_path / "gate").touch()
    service.wait(waiting)
    assert calls.start(portrait, speech, "order 18").json() == {
        "task_id": waiting,
        "status": "COMPLETED",
        "message": "Task created successfully",
        "warnings": [],
    }
    assert service.render_folders() == {first, waiting}
    calls.remove(waiting)
    assert calls.start(portrait, speech, "order 18").json()["task_id"] != waiting, "forgotten with the task"


def test_repeated_at_the_same_time(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("gated")
    calls = Calls(service)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: calls.start(portrait, speech, "k"), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert len(service.render_folders()) == rows(service, "tasks") == 1


def test_repeated_after_a_restart(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings, tasks = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.1), []
    for _ in range(2):
        with running(settings, "quick", tmp_path / "gate") as service:
            tasks.append(Calls(service).start(portrait, speech, "k").json()["task_id"])
    assert tasks[0] == tasks[1]


@pytest.mark.parametrize("key", ["", "x" * 256, "é".encode().decode("latin-1")])
def test_a_key_that_is_none(real_service: Any, portrait: Path, speech: Path, key: str) -> None:
    answer = Calls(real_service).start(portrait, speech, key)
    assert answer.status_code == 422
    assert error_of(answer).startswith("idempotency-key is not valid")
