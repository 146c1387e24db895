"""What applies to every response, around small applications that are called without a socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import middleware
from api.http.downloads import SentOn
from api.http.middleware import (
    DOCS_POLICY,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    POLICY,
    SECURE,
    HeadAsGet,
    LingeringClose,
    PlainTextErrors,
    RelativeRedirects,
    RequestLimits,
    SecureHeaders,
    UnexpectedErrors,
)
from tests.api.asgi import call, exchange, scope_of

OK = PlainTextResponse("fine")
Wrapper = Callable[[ASGIApp], ASGIApp]


@pytest.mark.parametrize(
    "wrap",
    [RequestLimits, PlainTextErrors, HeadAsGet, RelativeRedirects, UnexpectedErrors, SecureHeaders, LingeringClose],
)
def test_what_is_no_request_goes_through(wrap: Wrapper) -> None:
    """Such as the lifespan."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def unused(*_: Any) -> Any: ...

    async def scenario() -> None:
        await wrap(app)({"type": "lifespan"}, unused, unused)

    asyncio.run(scenario())
    assert seen == [{"type": "lifespan"}]


def limited(target: str = "/", headers: dict[str, str] | None = None, **changes: Any) -> tuple[int, str]:
    answer = call(RequestLimits(OK), "GET", target, headers, **changes)
    assert (answer.headers.get("connection") == "close") == (answer.status != 200)
    return answer.status, answer.body.decode() if answer.status == 200 else answer.json()["error"]


def test_heads_that_are_taken() -> None:
    few = {f"x-{number}": "" for number in range(MAX_HEADERS - 1)}
    for taken in (
        limited(),
        limited("/" + "x" * (MAX_TARGET_BYTES - 1)),
        limited(headers=few),
        limited(headers={"x": "y" * (MAX_HEADER_BYTES - len("xhosttest"))}),
        limited(headers={"content-length": "0"}),
        limited(headers={"transfer-encoding": "chunked"}),
        limited(http_version="1.0"),
        limited(http_version="1.2"),
    ):
        assert taken == (200, "fine")


@pytest.mark.parametrize(
    ("target", "headers", "changes", "status", "error"),
    [
        ("/" + "x" * MAX_TARGET_BYTES, {}, {}, 414, "The address is too long"),
        ("/?" + "x" * MAX_TARGET_BYTES, {}, {}, 414, "The address is too long"),
        ("/", {f"x-{n}": "" for n in range(MAX_HEADERS)}, {}, 431, "The request has too many headers"),
        ("/", {"x": "y" * (MAX_HEADER_BYTES - len("xhosttest") + 1)}, {}, 431, "The request has too many headers"),
        ("/", {"content-length": "5", "transfer-encoding": "chunked"}, {}, 400, "The request states its length twice"),
        ("/", {}, {"http_version": "2.0"}, 505, "This version of HTTP is not supported"),
        ("/", {}, {"http_version": "0.9"}, 505, "This version of HTTP is not supported"),
    ],
)
def test_heads_that_are_refused(
    target: str, headers: dict[str, str], changes: dict[str, Any], status: int, error: str
) -> None:
    assert limited(target, headers, **changes) == (status, error)


def test_a_later_version_needs_a_host_too() -> None:
    answer = call(RequestLimits(OK), "GET", "/", [], http_version="1.2")
    assert (answer.status, answer.json()["error"]) == (400, "The request has no Host header")


def test_plain_errors_get_the_form() -> None:
    kept = {"Allow": "GET", "Content-Range": "bytes */10", "X-Other": "y", "Content-Language": "en"}
    answer = call(PlainTextErrors(PlainTextResponse("Invalid host header", 400, headers=kept)), "GET", "/")
    assert answer.status == 400
    assert answer.json()["error"] == "Invalid host header"
    assert "allowed_hosts lists them" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert [answer.headers.get(name.lower()) for name in kept] == ["GET", "bytes */10", "y", None]


def test_an_error_without_words_is_named_by_its_status() -> None:
    assert (
        call(PlainTextErrors(PlainTextResponse("", 416)), "GET", "/").json()["error"]
        == "Requested Range Not Satisfiable"
    )
    assert call(PlainTextErrors(PlainTextResponse("Odd", 418)), "GET", "/").json()["error"] == "Odd"


@pytest.mark.parametrize(
    "response", [OK, PlainTextResponse("moved", 304), Response(b'{"error": "x"}', 400, media_type="application/json")]
)
def test_other_answers_stay_as_they_are(response: Response) -> None:
    answer = call(PlainTextErrors(response), "GET", "/")
    assert (answer.status, answer.body) == (response.status_code, bytes(response.body))


def test_head_is_get_without_a_body_and_without_a_range() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        scope["route"] = "the route"
        await PlainTextResponse("fine", headers={"x-y": "z"})(scope, receive, send)

    scope = scope_of("HEAD", "/", {"range": "bytes=0-1", "if-match": "*"})
    answer = asyncio.run(exchange(HeadAsGet(app), scope))
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "4")
    assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.body"]
    assert (seen[0]["method"], scope["method"], scope["route"]) == ("GET", "HEAD", "the route")
    assert [name for name, _ in seen[0]["headers"]] == [b"host", b"if-match"]
    assert call(HeadAsGet(OK), "GET", "/", {"range": "x"}).body == b"fine"


def test_the_head_of_a_stream_ends_it() -> None:
    async def forever() -> Any:
        while True:
            yield b"more"
            await asyncio.sleep(0)

    answer = asyncio.run(asyncio.wait_for(exchange(HeadAsGet(StreamingResponse(forever())), scope_of("HEAD", "/")), 10))
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("http://evil.example/api/health", "/api/health"),
        ("https://evil.example/a?b=c://d", "/a?b=c://d"),
        ("http://evil.example//other.example/x", "/other.example/x"),
        ("http://evil.example", "/"),
        ("/api/health", "/api/health"),
    ],
)
def test_redirects_name_no_host(location: str, sent: str) -> None:
    answer = call(RelativeRedirects(RedirectResponse(location)), "GET", "/")
    assert (answer.status, answer.headers["location"]) == (307, sent)


def test_a_redirect_to_another_host_can_be_meant() -> None:
    answer = call(RelativeRedirects(SentOn("https://there.example/x?signed")), "GET", "/")
    assert (answer.status, answer.headers["location"]) == (307, "https://there.example/x?signed")


def test_addresses_of_other_answers_are_left_alone() -> None:
    created = PlainTextResponse("", 201, headers={"Location": "http://here.example/x"})
    assert call(RelativeRedirects(created), "GET", "/").headers["location"] == "http://here.example/x"


def failing(error: BaseException, *, late: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if late:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


def answered(app: ASGIApp, expected: type[BaseException] | None) -> list[Message]:
    sent: list[Message] = []

    async def scenario() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        await UnexpectedErrors(app)(scope_of("GET", "/"), receive, send)

    if expected is None:
        asyncio.run(scenario())
    else:
        with pytest.raises(expected):
            asyncio.run(scenario())
    return sent


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), SystemExit("secret")])
def test_an_unforeseen_error_is_answered_and_goes_on(error: BaseException) -> None:
    start, body = answered(failing(error), type(error))
    assert start["status"] == 500
    assert b"Internal server error" in body["body"]
    assert b"secret" not in body["body"]


def test_an_error_in_the_middle_of_an_answer_only_goes_on() -> None:
    assert len(answered(failing(ZeroDivisionError(), late=True), ZeroDivisionError)) == 1


def test_who_is_cancelled_at_the_end_is_told_so() -> None:
    start, body = answered(failing(asyncio.CancelledError()), None)
    assert start["status"] == 503
    assert b"The server is shutting down" in body["body"]
    assert len(answered(failing(asyncio.CancelledError(), late=True), asyncio.CancelledError)) == 1


@pytest.mark.parametrize(
    ("path", "root", "policy"),
    [
        ("/", "", POLICY),
        ("/docs", "", DOCS_POLICY),
        ("/redoc", "", DOCS_POLICY),
        ("/docs/x", "", POLICY),
        ("/talk/docs", "/talk", DOCS_POLICY),
        ("/talk/docs", "", POLICY),
    ],
)
def test_headers_for_browsers(path: str, root: str, policy: str) -> None:
    answer = call(SecureHeaders(OK), "GET", path, root_path=root)
    assert {name: answer.headers[name] for name in SECURE} == SECURE
    assert answer.headers["content-security-policy"] == policy
    assert "unsafe" not in POLICY


def test_an_answers_own_headers_come_first() -> None:
    own = PlainTextResponse("fine", headers={"Referrer-Policy": "origin"})
    assert call(SecureHeaders(own), "GET", "/").headers.getlist("referrer-policy") == ["origin"]


def lingering(chunks: list[bytes], app: ASGIApp, method: str = "POST", **headers: str) -> tuple[Any, list[bytes]]:
    """The answer, and which chunks of the body nobody has taken by then."""
    left = list(chunks)

    async def receive() -> Message:
        if not left:
            await asyncio.sleep(600)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of(method, "/", {name.replace("_", "-"): value for name, value in headers.items()})
    asyncio.run(LingeringClose(app)(scope, receive, send))
    return sent, left


def test_an_early_answer_waits_for_the_rest_of_the_upload() -> None:
    sent, left = lingering([b"x"] * 5, PlainTextResponse("no", 413), content_length="5")
    assert left == []
    assert (b"connection", b"close") in sent[0]["headers"]
    assert [message.get("more_body") for message in sent[1:]] == [True, False]
    assert sent[1]["body"] == b"no"


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "LINGER_S", 0.01)
    monkeypatch.setattr(middleware, "LINGER_BYTES", 25)
    sent, left = lingering([bytes(10)] * 9, PlainTextResponse("no", 413), transfer_encoding="chunked")
    assert len(left) == 6, "no more than so many bytes"
    assert sent[-1]["more_body"] is False
    stalled, left = lingering([], PlainTextResponse("no", 413), content_length="5")
    assert stalled[-1]["more_body"] is False


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await OK(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "method", "headers"),
    [
        (read_all, "POST", {"content_length": "2"}),
        (OK, "POST", {}),
        (OK, "POST", {"content_length": "0"}),
        (OK, "GET", {"content_length": "2"}),
    ],
)
def test_who_has_sent_all_keeps_the_connection(
    app: Callable[..., Awaitable[None]], method: str, headers: dict[str, str]
) -> None:
    sent, _ = lingering([b"x", b"y"], app, method, **headers)
    assert b"connection" not in dict(sent[0]["headers"])
    assert len(sent) == 2
