"""Routes beyond the API document, without a server; over HTTP they are in tests/features/test_control.py."""

import json
from datetime import timedelta
from typing import Any

import pytest

from api.schemas.options import TaskOptions
from api.tasks.model import TaskStatus
from tests.api.asgi import Answer, call
from tests.api.made import NOW, make_task
from tests.api.parts import Parts

TASKS = "/api/v1/synthesis"


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [state["task_id"] for state in answer.json()["tasks"]]


def test_a_list_in_pages(parts: Parts) -> None:
    for minute, name in enumerate("abc"):
        parts.store.add(make_task(name, created_at=NOW + timedelta(minutes=minute)))
    parts.store.update("b", TaskStatus.PROCESSING)
    assert ids(call(parts.app, "GET", TASKS)) == ["c", "b", "a"]
    first = call(parts.app, "GET", f"{TASKS}?limit=2")
    assert ids(call(parts.app, "GET", f"{TASKS}?limit=2&cursor={first.json()['next_cursor']}")) == ["a"]
    assert ids(call(parts.app, "GET", f"{TASKS}?state=PROCESSING")) == ["b"]
    assert ids(call(parts.app, "GET", f"{TASKS}?state=PROCESSING&state=PENDING")) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("limit=0", 400, "limit must be between 1 and 100, got 0"),
        ("limit=101", 400, "limit must be between 1 and 100, got 101"),
        ("limit=x", 422, "limit must be a whole number"),
        ("state=pending", 422, "state is not one of the known values"),
        ("cursor=x", 400, "The cursor is not one of this server"),
    ],
)
def test_lists_that_are_refused(parts: Parts, query: str, status: int, error: str) -> None:
    answer = call(parts.app, "GET", f"{TASKS}?{query}")
    assert (answer.status, answer.json()["error"]) == (status, error)


def test_cancelling(parts: Parts) -> None:
    parts.wait("a")
    answer = call(parts.app, "POST", f"{TASKS}/a/cancel")
    assert (answer.status, answer.json()["status"], answer.json()["cancelled"]) == (200, "FAILED", True)
    again = call(parts.app, "POST", f"{TASKS}/a/cancel")
    assert (again.status, again.json()["error"]) == (409, "The task has ended already")
    assert call(parts.app, "POST", f"{TASKS}/b/cancel").status == 404


def test_removing(parts: Parts) -> None:
    parts.wait("a")
    answer = call(parts.app, "DELETE", f"{TASKS}/a")
    assert (answer.status, answer.body) == (204, b"")
    assert call(parts.app, "DELETE", f"{TASKS}/a").status == 404


def test_the_events_of_a_task_that_has_ended(parts: Parts) -> None:
    parts.wait("a")
    parts.finish("a")
    answer = call(parts.app, "GET", f"{TASKS}/a/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [
        dict(line.split(": ", 1) for line in event.splitlines())
        for event in answer.body.decode().split("\n\n")
        if event
    ]
    assert [event["event"] for event in events] == ["state", "end"]
    assert {json.loads(event["data"])["status"] for event in events} == {"COMPLETED"}
    assert call(parts.app, "GET", f"{TASKS}/b/events").status == 404


@pytest.mark.parametrize(
    ("kind", "body", "status", "error"),
    [
        ("application/json", b'{"colour": "red"}', 422, "Unknown form field: colour"),
        ("application/json", b'{"fps": 100}', 400, "fps must be between 8 and 60, got 100"),
        ("application/json", b'{"fps": 24, "fps": 25}', 422, "fps was sent twice"),
        ("application/json", b"[]", 422, "The request can't be read"),
        ("application/x-www-form-urlencoded", b"emotion=bored", 422, "emotion is not one of the known values"),
        ("text/plain", b"fps=25", 422, "The request is neither a form nor JSON"),
    ],
)
def test_changes_that_are_refused(parts: Parts, kind: str, body: bytes, status: int, error: str) -> None:
    parts.wait("a")
    answer = call(parts.app, "POST", f"{TASKS}/a/retry", {"content-type": kind}, body)
    assert (answer.status, answer.json()["error"]) == (status, error)


def test_a_retry_of_what_is_not_there(parts: Parts) -> None:
    assert call(parts.app, "POST", f"{TASKS}/a/retry").status == 404


def test_the_document_tells_which_options_a_retry_takes(parts: Parts) -> None:
    document: Any = parts.app.openapi()
    content = document["paths"][f"{TASKS}/{{task_id}}/retry"]["post"]["requestBody"]["content"]
    for kind, described in content.items():
        fields = described["schema"]["properties"]
        assert fields.keys() == TaskOptions.model_fields.keys(), kind
        assert "required" not in described["schema"]
        assert not any("default" in field for field in fields.values())
        assert any("anyOf" in field for field in fields.values()) == (kind == "application/json"), "forms have no null"
