"""The log: text or JSON lines, each with the request and the task that it is about."""

import json
import logging
import logging.handlers
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from api.settings import Settings

log = logging.getLogger(__name__)

LOG_BYTES, LOG_FILES = 10 * 1024 * 1024, 5
TASK_ID = re.compile(r"[0-9a-f-]{36}")
QUIET_LOGGERS = ("httpcore2", "python_multipart")
"""At DEBUG, these would log addresses and contents that do not belong in the log."""

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_task_id: ContextVar[str | None] = ContextVar("task_id", default=None)


def begin_request(request_id: str) -> None:
    """From here on, log lines of the running request carry its id.

    It is not reset at the end, because the server logs what was raised. The next request on the connection begins anew.
    """
    _request_id.set(request_id)
    _task_id.set(None)


def about(task_id: str) -> None:
    """From here on, log lines of the running request carry that task's id. Invalid ids are ignored."""
    if TASK_ID.fullmatch(task_id):
        _task_id.set(task_id)


@contextmanager
def working_on(task_id: str) -> Iterator[None]:
    """Log lines written meanwhile carry that task's id."""
    token = _task_id.set(task_id)
    try:
        yield
    finally:
        _task_id.reset(token)


def _add_ids(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass."""
    record.ids = {name: id_ for name, var in (("request_id", _request_id), ("task_id", _task_id)) if (id_ := var.get())}
    return True


class TextFormatter(logging.Formatter):
    """For people: one line, with the ids at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - so it is called
        """Return the line that precedes any traceback."""
        ids = " ".join(f"{name}={id_}" for name, id_ in record.__dict__["ids"].items())
        return f"{super().formatMessage(record)} [{ids}]" if ids else super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line. A call can add members with `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
    """Log to standard error and to a rotating `api.log`. Raises `OSError`."""
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
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
