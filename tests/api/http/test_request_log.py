"""Ids of requests, and the line and the count of each."""

import asyncio
import logging
import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api.http.request_log import MAX_PATH, RequestLog, new_request_id
from api.metrics import Load, Metrics
from tests.api.asgi import call, exchange, scope_of

LOGGER = "api.http.request_log"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda: [])


def counted(metrics: Metrics) -> list[str]:
    text = metrics.text(Load(0, 0, 0, 0, 0)).decode()
    return [line for line in text.splitlines() if line.startswith("dice_talk_requests_total{")]


def test_ids_are_never_the_same() -> None:
    ids = {new_request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize("sent", ["mine", "a" * 128, "A-Z_0.9:=+/@"])
def test_a_clients_own_id_is_taken_over(metrics: Metrics, sent: str) -> None:
    app = RequestLog(PlainTextResponse("fine"), metrics)
    assert call(app, "GET", "/", {"X-Request-ID": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", "a\tb", "é", "a]b", '"', "a\nb"])
def test_one_that_could_pass_for_something_else_is_not(metrics: Metrics, sent: str) -> None:
    app = RequestLog(PlainTextResponse("fine"), metrics)
    assert re.fullmatch(r"[0-9a-f]{32}", call(app, "GET", "/", {"X-Request-ID": sent}).headers["x-request-id"])


def test_of_two_ids_none_is_taken(metrics: Metrics) -> None:
    app = RequestLog(PlainTextResponse("fine"), metrics)
    answer = call(app, "GET", "/", [(b"x-request-id", b"a"), (b"x-request-id", b"b")])
    assert answer.headers["x-request-id"] not in ("a", "b")


def line(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    (record,) = [record for record in caplog.records if record.name == LOGGER]
    return record


def test_a_request_has_one_line_and_one_count(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        return item

    call(RequestLog(app, metrics), "GET", "/items/5?secret=1", {"authorization": "Bearer secret"})
    record = line(caplog)
    assert re.fullmatch(r"192\.0\.2\.1:4711 GET /items/5: 200, \d+\.\d ms", record.getMessage())
    fields: dict[str, Any] = record.__dict__["fields"]
    assert fields["duration_ms"] >= 0
    expected = {"client": "192.0.2.1", "method": "GET", "path": "/items/5", "status": 200, "key": None}
    assert fields == expected | {"duration_ms": fields["duration_ms"]}
    (count,) = counted(metrics)
    assert count == 'dice_talk_requests_total{method="GET",route="/items/{item}",status="200"} 1.0'


def test_a_path_is_one_line_and_not_too_long(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    raw = b"/x%0Ay" + b"\xff" + b"z" * 999
    call(RequestLog(PlainTextResponse("fine"), metrics), "GET", "/", raw_path=raw)
    path = line(caplog).__dict__["fields"]["path"]
    assert path.startswith("/x%0Ay\\xffzzz")
    assert len(path) == MAX_PATH


def test_a_request_that_was_never_answered(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["owner"] = "alice"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(exchange(RequestLog(app, metrics), scope_of("GET", "/", client=None)))
    fields = line(caplog).__dict__["fields"]
    assert (fields["status"], fields["client"], fields["key"]) == (0, "", "alice")
    assert 'status="0"' in counted(metrics)[0]


def test_what_is_no_request_is_neither_logged_nor_counted(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)

    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    async def unused(*_: Any) -> Any: ...

    asyncio.run(RequestLog(app, metrics)({"type": "lifespan"}, unused, unused))
    assert not [record for record in caplog.records if record.name == LOGGER]
    assert counted(metrics) == []
