"""One HTTP/1.1 connection, fed bytes by hand: no socket, and no waiting."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from api.http import protocol
from api.http.middleware import SECURE
from api.http.protocol import PIECE, Connection, Http, Timer

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """What a client would see."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed, self.aborted, self.ended = b"", False, False, False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def connected(scenario: Callable[[Http, Wire], Awaitable[None]], app: ASGIApp | None = None) -> Wire:
    wire = Wire()

    async def whole() -> None:
        config = uvicorn.Config(
            app or PlainTextResponse("fine"), http=Http, log_config=None, lifespan="off", access_log=False
        )
        config.load()
        connection = Http(config, ServerState(), {})
        connection.connection_made(wire)
        try:
            await scenario(connection, wire)
        finally:
            connection.connection_lost(None)
            await asyncio.sleep(0)

    asyncio.run(whole())
    return wire


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n", b"\r\n\r\n\n"])
def test_empty_lines_before_a_request_are_skipped(before: bytes) -> None:
    async def scenario(connection: Http, wire: Wire) -> None:
        for _ in range(2):
            connection.data_received(before + GET)
            await settle()

    assert connected(scenario).sent.count(b"HTTP/1.1 200 OK") == 2


def test_half_an_empty_line_is_waited_for() -> None:
    connection = Connection(h11.SERVER)
    connection.receive_data(b"\r\n\r")
    assert connection.next_event() is h11.NEED_DATA
    connection.receive_data(b"\n" + GET)
    assert isinstance(connection.next_event(), h11.Request)


@pytest.mark.parametrize(
    "rubbish", [b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\n bad: x\r\n\r\n", b"\0" * 99 + b"\r\n\r\n"]
)
def test_what_is_no_http_gets_the_documented_error(rubbish: bytes) -> None:
    async def scenario(connection: Http, wire: Wire) -> None:
        connection.data_received(rubbish)
        connection.data_received(GET)

    wire = connected(scenario)
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b'"error":"The request is not valid HTTP"' in body
    assert wire.sent.count(b"HTTP/1.1 ") == 1, "nothing after it is answered"
    assert wire.ended and not wire.aborted, "it is not cut off while the client may still send"
    lines = head.lower()
    assert b"connection: close" in lines
    assert b"x-request-id: " in lines
    assert all(name.encode() in lines for name in SECURE)


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, 431, "headers_too_large"),
        (b"GET /" + b"y" * 100_000, 414, "address_too_long"),
    ],
)
def test_a_head_that_does_not_end_is_too_large(head: bytes, status: int, code: str) -> None:
    async def scenario(connection: Http, wire: Wire) -> None:
        connection.data_received(head)

    sent = connected(scenario).sent
    assert sent.startswith(b"HTTP/1.1 %d " % status)
    assert f'"code":"{code}"'.encode() in sent


def test_a_chunk_whose_size_does_not_end_is_no_head() -> None:
    async def scenario(connection: Http, wire: Wire) -> None:
        connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * 30_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(3600)

    assert connected(scenario, app).sent.startswith(b"HTTP/1.1 400 ")


def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * (PIECE // 64)
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        data = b""
        while True:
            message = await receive()
            data += message["body"]
            if not message["more_body"]:
                break
        got.append(data)
        await PlainTextResponse("fine")(scope, receive, send)

    async def scenario(connection: Http, wire: Wire) -> None:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.data_received(head + body)
        await settle()

    connected(scenario, app)
    assert got == [body]


def test_a_head_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.02)

    async def silent(connection: Http, wire: Wire) -> None:
        await asyncio.sleep(0.1)
        assert wire.closed

    assert connected(silent).sent == b""

    async def half(connection: Http, wire: Wire) -> None:
        connection.data_received(GET[:10])
        await asyncio.sleep(0.1)

    said = connected(half).sent
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"The request took too long" in said

    async def second(connection: Http, wire: Wire) -> None:
        connection.data_received(GET)
        await settle()
        await asyncio.sleep(0.1)
        assert wire.closed

    assert connected(second).sent.count(b"HTTP/1.1 ") == 1


def test_a_request_that_is_worked_on_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.02)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await PlainTextResponse("late")(scope, receive, send)

    async def scenario(connection: Http, wire: Wire) -> None:
        connection.data_received(GET)
        await asyncio.sleep(0.15)

    assert connected(scenario, app).sent.endswith(b"late")


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALL_S", 0.5)

    async def scenario(connection: Http, wire: Wire) -> None:
        assert wire.high == 0
        for _ in range(3):  # each time it catches up, it has all the time again
            connection.pause_writing()
            await asyncio.sleep(0.2)
            connection.resume_writing()
        assert not wire.aborted
        connection.pause_writing()
        async with asyncio.timeout(20):
            while not wire.aborted:
                await asyncio.sleep(0.02)

    connected(scenario)


def test_a_body_that_goes_wrong_ends_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    messages = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            messages.append(message)

    async def scenario(connection: Http, wire: Wire) -> None:
        connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await settle()
        connection.data_received(b"rubbish\r\n")
        await settle()

    said = connected(scenario, app).sent
    assert said.startswith(b"HTTP/1.1 400 ")
    assert [message["body"] for message in messages] == [b"a"]


def test_an_alarm_rings_once_unless_it_is_stopped() -> None:
    rung: list[str] = []

    async def scenario() -> None:
        first, second = Timer(), Timer()
        first.start(0.01, lambda: rung.append("first"))
        first.start(600, lambda: rung.append("again"))
        second.start(0.01, lambda: rung.append("second"))
        second.stop()
        second.stop()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert rung == ["first"]
