"""Middleware for every response, whatever made it."""

import asyncio

import anyio
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.http.errors import code_of, name_of, respond, respond_to
from dice_talk.error_codes import ErrorCode

LINGER_S = 2.0
LINGER_BYTES = 64 * 1024 * 1024
MAX_TARGET_BYTES = 8 * 1024
MAX_HEADERS, MAX_HEADER_BYTES = 100, 16 * 1024
"""As in other servers. h11 has a limit of its own, but only for heads that arrive in pieces."""


class RequestLimits:
    """Refuses request heads that no honest client sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        answer = _refusal(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)


def _refusal(scope: Scope) -> JSONResponse | None:
    headers = scope["headers"]
    if not scope["http_version"].startswith("1."):  # a later 1.x is answered as 1.1 (RFC 9110, section 2.5)
        return _refuse(ErrorCode.HTTP_VERSION, "This version of HTTP is not supported", "Send HTTP/1.1.")
    if scope["http_version"] > "1.1" and not any(name == b"host" for name, _ in headers):  # h11 checks 1.1 only
        return _refuse(ErrorCode.REQUEST_MALFORMED, "The request has no Host header", "Send one.")
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        detail = "At most {most} bytes are allowed."
        return _refuse(ErrorCode.ADDRESS_TOO_LONG, "The address is too long", detail, most=MAX_TARGET_BYTES)
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        return _refuse(
            ErrorCode.HEADERS_TOO_LARGE,
            "The request has too many headers",
            "At most {most} headers and {bytes} bytes are allowed.",
            most=MAX_HEADERS,
            bytes=MAX_HEADER_BYTES,
        )
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
        # If a proxy uses the one and this server the other, a body can hide a second request (RFC 9112, section 6.3).
        detail = "Send either a length or chunks."
        return _refuse(ErrorCode.REQUEST_MALFORMED, "The request states its length twice", detail)
    return None


def _refuse(code: ErrorCode, message: str, detail: str, /, **params: object) -> JSONResponse:
    return respond_to(ApiError(code, message, detail, {"Connection": "close"}, **params))


PLAIN = {
    "Invalid host header": (
        ErrorCode.HOST_NOT_ALLOWED,
        "Use an address that this server is known by; its setting allowed_hosts lists them.",
    ),
    "Disallowed CORS origin": (
        ErrorCode.ORIGIN_NOT_ALLOWED,
        "The server's setting cors_origins lists the sites whose pages may use it.",
    ),
    "Disallowed CORS method": (
        ErrorCode.ORIGIN_METHOD,
        "Pages of other sites may send GET, HEAD, POST and DELETE.",
    ),
    "Malformed range header.": (
        ErrorCode.RANGE_MALFORMED,
        "Send bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH; several are separated by commas.",
    ),
}
"""Codes and details for errors that the framework answers with plain text."""


class PlainTextErrors:
    """Turns the plain-text errors that the framework makes for files, hosts and origins into the documented body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        plain: Message | None = None

        async def send_as_documented(message: Message) -> None:
            nonlocal plain
            if message["type"] == "http.response.start" and _is_plain_error(message):
                plain = message
            elif plain is None:
                await send(message)
            else:  # the whole text: any further part of the body is empty
                answer, plain = _as_documented(plain, message["body"].decode()), None
                start = {"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
                await send(start)
                await send({**message, "body": bytes(answer.body)})

        await self._app(scope, receive, send_as_documented)


def _is_plain_error(start: Message) -> bool:
    kind = MutableHeaders(scope=start).get("content-type", "")
    return bool(start["status"] >= 400 and kind.startswith("text/plain"))


def _as_documented(start: Message, text: str) -> JSONResponse:
    headers = MutableHeaders(scope=start)
    kept = {
        name: value for name, value in headers.items() if not name.startswith("content-") or name == "content-range"
    }
    code, detail = PLAIN.get(text.partition(", ")[0]) or (code_of(start["status"]), None)
    return respond(start["status"], code, text or name_of(start["status"]), detail, kept)


WAS_HEAD = "dice_talk.was_head"
"""The name in a scope that says that the method was HEAD."""


class HeadAsGet:
    """Answers HEAD like GET, without a body. A stream ends after its head.

    `Range` is dropped, because it is defined for GET only (RFC 9110, section 14.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self._app(scope, receive, send)
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        inner: Scope = {**scope, "method": "GET", "headers": headers, WAS_HEAD: True}
        answered = False

        async def receive_until_answered() -> Message:
            return {"type": "http.disconnect"} if answered else await receive()

        async def send_head(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                scope["route"] = inner.get("route")  # for the metrics
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered = True

        return await self._app(inner, receive_until_answered, send_head)


ELSEWHERE = "dice_talk.elsewhere"
"""The name in the head of a response that says that it redirects to another host, on purpose."""


class RelativeRedirects:
    """Makes redirects within this server relative: the framework would repeat the client's Host header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""

        async def send_relative(message: Message) -> None:
            elsewhere = message.pop(ELSEWHERE, False)
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400 and not elsewhere:
                headers = MutableHeaders(scope=message)
                _, _, behind_scheme = headers.get("location", "").partition("://")
                if behind_scheme:
                    path = behind_scheme.partition("/")[2].lstrip("/")  # two slashes would start a host name
                    headers["location"] = f"/{path}"
            await send(message)

        await self._app(scope, receive, send_relative)


class UnexpectedErrors:
    """Answers when nothing else could. The exception is raised again, so that the server logs it.

    The framework would answer outside of all middleware, without the headers that every response should have.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except asyncio.CancelledError:  # the time for a clean shutdown is over
            if scope["type"] != "http" or started:
                raise
            await respond(503, ErrorCode.SHUTTING_DOWN, "The server is shutting down", "Try again soon.")(
                scope, receive, send
            )
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:  # also the SystemExit of a package's code
            if scope["type"] == "http" and not started:
                error = respond(500, ErrorCode.INTERNAL_ERROR, "Internal server error", "The server's log says more.")
                await error(scope, receive, send)
            raise


SECURE = {
    "x-content-type-options": "nosniff",  # JSON and videos are never run as something else
    "referrer-policy": "no-referrer",  # URLs contain task ids, which are private
    "cross-origin-resource-policy": "same-origin",  # other sites cannot embed the videos, unless CORS allows them
    "cross-origin-opener-policy": "same-origin",
}
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
"""For pages: scripts, styles and media of this server only, and never inside another site's frame."""
DOCS = frozenset(("/docs", "/redoc"))
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; worker-src blob:"
"""Swagger UI and ReDoc start with an inline script. Neither shows anything that clients sent."""


class SecureHeaders:
    """Adds headers that tell browsers how responses must not be used."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
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

    A server that answers early and closes at once resets the connection, and many clients then report "connection
    reset" instead of the response. The response is therefore sent first, and what still arrives is discarded for a
    while.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
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
