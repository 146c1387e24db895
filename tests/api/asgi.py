"""Calls an ASGI application without a socket: one request, with its whole answer."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope


@dataclass
class Answer:
    status: int = 0
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    messages: list[Message] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)


Sent = dict[str, str] | list[tuple[bytes, bytes]] | None
"""Headers by name, to which a host is added; or all of them, as they are."""


def scope_of(method: str, target: str, headers: Sent = None, **changes: Any) -> Scope:
    path, _, query = target.partition("?")
    if not isinstance(headers, list):
        named = {"host": "test", **(headers or {})}
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 4711),
        "server": ("test", 80),
        "state": {},
        **changes,
    }


async def exchange(app: ASGIApp, scope: Scope, chunks: Iterable[bytes] = (b"",)) -> Answer:
    """Send a body in chunks and read the answer; the client goes when it has all."""
    answer, left = Answer(), list(chunks)
    gone = asyncio.Event()

    async def receive() -> Message:
        if left:
            body = left.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(left)}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answer.messages.append(message)
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], Headers(raw=message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
            if not message.get("more_body"):
                gone.set()

    await app(scope, receive, send)
    return answer


def call(app: ASGIApp, method: str, target: str, headers: Sent = None, body: bytes = b"", **changes: Any) -> Answer:
    """One request in an event loop of its own."""
    if body and not isinstance(headers, list):
        headers = {"content-length": str(len(body)), **(headers or {})}
    return asyncio.run(exchange(app, scope_of(method, target, headers, **changes), [body]))
