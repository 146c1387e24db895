"""Server-sent events, over real HTTP."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from api.schemas.tasks import TaskState
from api.service.events import MAX_EVENTS, Events, Feed
from api.settings import Settings
from tests.conftest import Service, running
from tests.features.test_control import Calls
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for


class Stream:
    """A connection to a task's events. Iterates over (kind, id, data)."""

    def __init__(self, service: Service, task: str, last_id: str | None = None, query: str = "") -> None:
        url = f"{service.url}/api/v1/synthesis/{task}/events{query}"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        self.answer = requests.get(url, headers=headers, stream=True, timeout=30)
        assert self.answer.status_code == 200
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        event: dict[str, str] = {}
        for line in map(str, self.answer.iter_lines(chunk_size=1, decode_unicode=True)):
            if line:
                name, _, value = line.partition(":")
                event[name] = value.strip()
            elif event.keys() > {"event"}:
                yield event["event"], event.get("id", ""), json.loads(event["data"])
                event = {}

    def close(self) -> None:
        self.answer.close()


def test_from_waiting_to_the_end(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    _, second = (service.submit(portrait, speech) for _ in range(2))
    seen = []
    with closing(Stream(service, second)) as stream:
        for kind, _, state in stream:
            seen.append((kind, state["status"], state["queue_position"]))
            if state["queue_position"] == 1:  # the first one runs
                (tmp_path / "gate").touch()
    assert seen[-1] == ("end", "COMPLETED", None)
    assert seen[-2] == ("state", "COMPLETED", None)
    assert seen[0][:2] == ("state", "PENDING")
    assert ("state", "PENDING", 1) in seen
    assert {state["status"] for _, _, state in Stream(service, second)} == {"COMPLETED"}, "also when it has ended"
    assert state == service.status(second)


def test_the_lite_engine_counts_frames(
    real_service: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.rendering.progress.PROGRESS_EVERY_S", 0.02)  # a quick machine draws all in a second
    monkeypatch.setattr("api.service.synthesis.CHECK_EVERY_S", 0.02)
    task = real_service.submit(portrait, speech, duration=None, fps=60)
    states = [state for kind, _, state in Stream(real_service, task) if kind == "state"]
    drawn = [state["frame"] for state in states if state["frame"] is not None]
    assert len(drawn) > 3
    assert drawn == sorted(drawn)
    for state in states:
        assert (state["frame"] is None) == (state["stage"] != "render" or state["status"] != "PROCESSING")
        assert state["frames"] == state["steps"] == (None if state["step"] is None else 495)
    progress = [state["progress"] for state in states]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    told = [state["eta_seconds"] for state in states if state["status"] == "PROCESSING"]
    known = [eta for eta in told if eta]  # nothing is at the very start of a server's first render
    assert known
    assert all(0 <= eta["low"] <= eta["high"] for eta in known)


def test_what_was_missed_is_told_again(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    tasks = [service.submit(portrait, speech) for _ in range(4)]
    service.wait(tasks[0], "PROCESSING")
    with closing(Stream(service, tasks[3])) as stream:
        first = next(iter(stream))
    assert first[2]["queue_position"] == 3
    for task in tasks[1:3]:
        Calls(service).cancel(task)
        position = service.status(tasks[3])["queue_position"]
        wait_for(lambda p=position: last_told(service, tasks[3])["queue_position"] == p)  # type: ignore[misc]
    with closing(Stream(service, tasks[3], first[1])) as stream:
        events = iter(stream)
        assert [next(events)[2]["queue_position"] for _ in range(2)] == [2, 1]
    (tmp_path / "gate").touch()
    *_, end = Stream(service, tasks[3], first[1])
    assert end[0] == "end"
    assert [kind for kind, *_ in Stream(service, tasks[3], end[1])] == ["end"], "nothing came after it"
    for unknown in ("other-3", "x", "-", "0-99999999999"):
        assert [kind for kind, *_ in Stream(service, tasks[3], unknown)] == ["state", "end"]


def last_told(service: Service, task: str) -> Any:
    with closing(Stream(service, task)) as stream:
        return next(iter(stream))[2]


def test_previews_come_to_those_who_ask(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """Also to two tasks that share a render, and none to a client that has not asked."""
    service = serve("shows")
    tasks = [service.submit(portrait, speech, seed=1) for _ in range(2)]
    service.wait(tasks[0], "PROCESSING")
    for task in tasks:
        with closing(Stream(service, task, query="?previews=true")) as stream:
            events = ((kind, number, data) for kind, number, data in stream if kind == "preview")
            (_, first_id, first), (_, _, second) = next(events), next(events)
        assert first_id == "" and second["step"] > first["step"] and first["steps"] == 1000
        header, _, encoded = first["image"].partition(",")
        assert header == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (16, 16)
    plain = Stream(service, tasks[0])
    (tmp_path / "gate").touch()
    assert {kind for kind, *_ in plain} == {"state", "end"}
    assert {kind for kind, *_ in Stream(service, tasks[0], query="?previews=true")} == {"state", "end"}
    render_id = service.synthesis.completed(tasks[0], None).render.id
    wait_for(lambda: service.synthesis._dispatcher.previews.latest(render_id) is None)


@pytest.mark.parametrize("call", ["cancel", "remove"])
def test_a_task_that_is_cancelled_or_removed_ends_the_stream(
    serve: Any, portrait: Path, speech: Path, call: str
) -> None:
    service = serve("gated")
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    stream = Stream(service, task)
    events = iter(stream)
    assert next(events)[2]["status"] == "PROCESSING"
    getattr(Calls(service), call)(task)
    *_, (kind, _, state) = events
    assert kind == "end"
    assert state["cancelled"] == (call == "cancel")


def test_unknown_task(real_service: Any) -> None:
    answer = requests.get(f"{real_service.url}/api/v1/synthesis/x/events", timeout=60)
    assert (answer.status_code, error_of(answer)) == (404, "Task not found")


def test_clients_that_go_away_leave_nothing(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    task = service.submit(portrait, speech)
    streams = [Stream(service, task) for _ in range(20)]
    feed = service.synthesis._events._feeds[task]
    wait_for(lambda: feed.followers == 20)
    for stream in streams:
        next(iter(stream))
        stream.close()
    wait_for(lambda: feed.followers == 0)
    (tmp_path / "gate").touch()
    assert service.wait(task)["status"] == "COMPLETED"


def test_comments_keep_a_silent_stream_alive(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.1)
    service = serve("gated")
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    with closing(Stream(service, task)) as stream:
        lines = stream.answer.iter_lines(chunk_size=1)
        assert any(next(lines) == b": ping" for _ in range(20))


def test_a_server_that_stops_closes_the_stream_without_an_end(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.3, workers=1)
    kinds: list[str] = []
    with running(settings, "gated", tmp_path / "gate") as service:
        task = service.submit(portrait, speech)
        service.wait(task, "PROCESSING")
        stream = Stream(service, task)
        reading = threading.Thread(target=lambda: kinds.extend(kind for kind, *_ in stream))
        reading.start()
        wait_for(lambda: kinds)
        last = time.monotonic()
    assert time.monotonic() - last < 5, "nobody waits for readers"
    reading.join(5)
    assert not reading.is_alive()
    assert set(kinds) == {"state"}


def test_only_so_much_is_kept(real_service: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.service.events.MAX_FEEDS", 3)
    state = TaskState(**real_service.status(real_service.submit(portrait, speech)))
    feed = Feed()
    for step in range(MAX_EVENTS + 10):
        feed.add(state.model_copy(update={"step": step}))
        feed.add(state.model_copy(update={"step": step, "elapsed_seconds": 1e9}))  # nothing new
    assert (len(feed._events), feed._number) == (MAX_EVENTS, MAX_EVENTS + 10)
    events = Events(None)  # type: ignore[arg-type]
    for number in range(9):
        events.feed(state.model_copy(update={"task_id": str(number)})).followers = number < 1
    assert list(events._feeds) == ["0", "7", "8"], "those that are followed stay"
