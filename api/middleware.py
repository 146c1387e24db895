"""What applies to every response, whatever made it. Each class is an ASGI application around another."""

import asyncio
from http import HTTPStatus

import anyio
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import respond

LINGER_S = 2.0
LINGER_BYTES = 64 * 1024 * 1024
MAX_TARGET_BYTES = 8 * 1024
MAX_HEADERS, MAX_HEADER_BYTES = 100, 16 * 1024
"""What other servers allow. h11 has a limit of its own, but only for heads that arrive in pieces."""


class RequestLimits:
    """Refuses heads that no honest client sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        answer = _refusal(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)


def _refusal(scope: Scope) -> JSONResponse | None:
    headers, close = scope["headers"], {"Connection": "close"}
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return respond(414, "The address is too long", f"At most {MAX_TARGET_BYTES} bytes are allowed.", close)
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        allowed = f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes are allowed."
        return respond(431, "The request has too many headers", allowed, close)
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
        # A proxy may believe the one and this server the other: then a body can hide a second request (RFC 9112, 6.3).
        return respond(400, "The request states its length twice", "Send either a length or chunks.", close)
    return None


class ErrorForm:
    """Gives plain-text errors, as the framework's file responses make them, the documented body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        replaced = False

        async def send_in_form(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
                status = message["status"]
                if status >= 400 and headers.get("content-type", "").startswith("text/plain"):
                    replaced = True
                    kept = {
                        name: value
                        for name, value in headers.items()
                        if not name.startswith("content-") or name == "content-range"
                    }
                    await respond(status, HTTPStatus(status).phrase, headers=kept)(scope, receive, send)
            if not replaced:
                await send(message)

        await self._app(scope, receive, send_in_form)


class LastResort:
    """Answers where nothing else could. The exception goes on, for the server to log it.

    The framework would answer outside of all middleware, without the headers that every response should have.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except asyncio.CancelledError:  # the server's time to shut down is over
            if scope["type"] != "http" or started:
                raise
            await respond(503, "The server is shutting down", "Try again soon.")(scope, receive, send)
        except Exception:
            if scope["type"] == "http" and not started:
                await respond(500, "Internal server error", "The server's log says more.")(scope, receive, send)
            raise


SECURE = {
    "x-content-type-options": "nosniff",  # what was sent as JSON or video is never run as something else
    "referrer-policy": "no-referrer",  # an address names a task, which is nobody else's business
    "cross-origin-resource-policy": "same-origin",  # other sites can't show the videos; CORS can let them in
    "cross-origin-opener-policy": "same-origin",
}
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
"""For pages: nothing from elsewhere, no script or style but files of this server, never inside another page."""
DOCS = frozenset(("/docs", "/redoc"))
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; worker-src blob:"
"""Swagger UI and ReDoc start with a script inside the page. Neither shows anything that clients sent."""


class SecureHeaders:
    """Tells browsers what the answers are not for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = DOCS_POLICY if path in DOCS else POLICY
                for name, value in (*SECURE.items(), ("content-security-policy", policy)):
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class LingeringClose:
    """Lets a client that is still uploading read why it was refused.

    A server that answers early and closes at once resets the connection, and many clients then see "connection reset"
    in place of the answer. So the answer goes out, and for a while what still arrives is read and thrown away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            return await self._app(scope, receive, send)
        lengths = {name: value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")}
        read_whole = not lengths or lengths == {b"content-length": b"0"}

        async def receive_noting_end() -> Message:
            nonlocal read_whole
            message = await receive()
            read_whole = not message.get("more_body", False)
            return message

        async def send_before_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not read_whole:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or read_whole:
                return await send(message)
            await send({**message, "more_body": True})
            await drain()
            return await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def drain() -> None:
            dropped = 0
            with anyio.move_on_after(LINGER_S):
                while not read_whole and dropped < LINGER_BYTES:
                    dropped += len((await receive_noting_end()).get("body", b""))

        return await self._app(scope, receive_noting_end, send_before_closing)
