"""Gives each request an id, and logs and counts its outcome."""

import logging
import re
import uuid
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import logs
from api.metrics import Metrics

log = logging.getLogger(__name__)


REQUEST_ID = "X-Request-ID"
VALID_ID = re.compile(r"[A-Za-z0-9._:=+/@-]{1,128}")
"""Ids that are accepted from clients: nothing that could pass for another line or field of the log."""
MAX_PATH = 300
"""Characters of a path that are logged."""


def new_request_id() -> str:
    """Return an id for a request that brings none."""
    return uuid.uuid4().hex


class RequestLog:
    """Gives each request an id, which the response repeats, and logs and counts its outcome."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).getlist(REQUEST_ID)
        request_id = sent[0] if len(sent) == 1 and VALID_ID.fullmatch(sent[0]) else new_request_id()
        logs.begin_request(request_id)
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
        """`status`: 0 if the client had gone before it was answered."""
        self._metrics.note_request(scope["method"], getattr(scope.get("route"), "path", None), status, seconds)
        client = scope["client"] or ("", 0)
        # No query and no headers, which may be private. The raw path, because a decoded one can contain line breaks.
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
