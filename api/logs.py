"""The log: which request and which task a line is about, as text or as JSON, and one line for each request."""

import json
import logging
import logging.handlers
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.settings import Settings

log = logging.getLogger(__name__)

LOG_BYTES, LOG_FILES = 10 * 1024 * 1024, 5
REQUEST_ID = "X-Request-ID"
SANE_ID = re.compile(r"[A-Za-z0-9._:=+/@-]{1,128}")
"""What is taken over from a client: nothing that could pass for another line or field of the log."""
TASK_ID = re.compile(r"[0-9a-f-]{36}")
MAX_PATH = 300
"""Characters of a path that are logged."""
INDISCREET = ("httpcore2", "python_multipart")
"""At DEBUG they tell of addresses and contents that are none of the log's business."""

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_task_id: ContextVar[str | None] = ContextVar("task_id", default=None)


def new_request_id() -> str:
    """For a request that brings none."""
    return uuid.uuid4().hex


def about(task_id: str) -> None:
    """From here on, what the running request logs is about that task. What can be no task's id is passed over."""
    if TASK_ID.fullmatch(task_id):
        _task_id.set(task_id)


@contextmanager
def working_on(task_id: str) -> Iterator[None]:
    """What is logged meanwhile is about that task."""
    token = _task_id.set(task_id)
    try:
        yield
    finally:
        _task_id.reset(token)


def _add_ids(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass."""
    record.ids = {name: id_ for name, var in (("request_id", _request_id), ("task_id", _task_id)) if (id_ := var.get())}
    return True


class TextFormatter(logging.Formatter):
    """For people: one line, with the ids at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - so it is called
        """Before any traceback."""
        ids = " ".join(f"{name}={id_}" for name, id_ in record.__dict__["ids"].items())
        return f"{super().formatMessage(record)} [{ids}]" if ids else super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line. What a call gives as `extra={"fields": {...}}` is part of it."""

    def format(self, record: logging.LogRecord) -> str:
        """All of it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **record.__dict__["ids"],
            **record.__dict__.get("fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(settings: Settings) -> None:
    """Everything goes to standard error and to a rotating `api.log`. Raises `OSError`."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        settings.log_dir / "api.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
    )
    logging.raiseExceptions = False  # a full disk or a closed terminal is no reason to print a traceback for each line
    handlers: list[logging.Handler] = [logging.StreamHandler(), file]
    for handler in handlers:
        handler.addFilter(_add_ids)
        handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level, handlers=handlers)
    for name in INDISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)


class RequestLog:
    """Gives each request its id, which the answer tells too, and logs and counts how it ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).getlist(REQUEST_ID)
        request_id = sent[0] if len(sent) == 1 and SANE_ID.fullmatch(sent[0]) else new_request_id()
        # Not reset at the end, for the server logs what was raised. The next request on the connection begins anew.
        _request_id.set(request_id)
        _task_id.set(None)
        began, status = perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._note(scope, status, perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """`status`: 0 where nobody was there any more to be answered."""
        self._metrics.note_request(scope["method"], getattr(scope.get("route"), "path", None), status, seconds)
        client = scope["client"] or ("", 0)
        # Neither the query nor any header: they may hold what is nobody's business. Raw: a decoded path can hold lines.
        path = scope["raw_path"].decode("ascii", "backslashreplace")[:MAX_PATH]
        fields = {
            "client": client[0],
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            "key": scope.get("state", {}).get("owner"),
        }
        words = (f"{client[0]}:{client[1]}", scope["method"], path, status, seconds * 1000)
        log.info("%s %s %s: %d, %.1f ms", *words, extra={"fields": fields})
