"""Requests as no honest client sends them, byte by byte over raw sockets."""

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from api.http import protocol
from tests.conftest import Service
from tests.forms import BOUNDARY, END, HEADERS, part
from tests.hostile.conftest import START, UPLOAD_S, Answer, connect, exchange, needs_proc, open_files, refused
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("honest_at_the_end")

FORM_TYPE = f"Content-Type: {HEADERS['Content-Type']}"
FORM = part("emotion", b"sad") + END


def post(*headers: str, body: bytes = b"", kind: str = FORM_TYPE) -> bytes:
    lines = "\r\n".join((f"POST {START} HTTP/1.1", "Host: x", kind, *headers))
    return f"{lines}\r\n\r\n".encode("latin-1") + body


def sized(body: bytes, kind: str = FORM_TYPE) -> bytes:
    """An honest length around whatever body."""
    return post(f"Content-Length: {len(body)}", body=body, kind=kind)


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"Host: x", *headers, b"", b""))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


CHUNKED = "Transfer-Encoding: chunked"

LENGTHS = {
    "honest": (sized(FORM), 422),  # only the files are missing
    "none at all": (post(body=FORM), 400),
    "zero": (post("Content-Length: 0"), 400),
    "negative": (post("Content-Length: -5", body=FORM), 400),
    "with a sign": (post(f"Content-Length: +{len(FORM)}", body=FORM), 400),
    "hexadecimal": (post("Content-Length: 0x10", body=FORM), 400),
    "with an underscore": (post("Content-Length: 1_0", body=FORM), 400),
    "superscript digits": (post("Content-Length: \xb2\xb3", body=FORM), 400),
    "a word": (post("Content-Length: many", body=FORM), 400),
    "empty": (post("Content-Length: ", body=FORM), 400),
    "of 5000 digits": (post("Content-Length: " + "9" * 5000), 400),
    "of 19 digits": (post("Content-Length: " + "9" * 19), 413),
    "doubled, the same": (post(*[f"Content-Length: {len(FORM)}"] * 2, body=FORM), 422),
    "doubled, another": (post(f"Content-Length: {len(FORM)}", "Content-Length: 3", body=FORM), 400),
    "doubled in one line": (post(f"Content-Length: {len(FORM)}, 3", body=FORM), 400),
    "too small": (post("Content-Length: 40", body=FORM), 400),
    "too large": (post(f"Content-Length: {len(FORM) + 9}", body=FORM), 408),
    "and chunks": (post(f"Content-Length: {len(FORM)}", CHUNKED, body=chunk(FORM) + chunk(b"")), 400),
    "chunks": (post(CHUNKED, body=chunk(FORM) + chunk(b"")), 422),
    "chunks named twice": (post(CHUNKED, CHUNKED, body=chunk(FORM) + chunk(b"")), 400),
    "chunks misspelt": (post("Transfer-Encoding: xchunked", body=chunk(FORM) + chunk(b"")), 400),
    "chunks with gzip": (post("Transfer-Encoding: gzip, chunked", body=chunk(FORM) + chunk(b"")), 400),
    "a chunk of 2**84": (post(CHUNKED, body=b"F" * 21 + b"\r\nabc"), 400),
    "a chunk of 2**64": (post(CHUNKED, body=b"F" * 16 + b"\r\nabc"), (400, 408)),
    "a negative chunk": (post(CHUNKED, body=b"-1\r\nabc"), 400),
    "a chunk without a number": (post(CHUNKED, body=b"\r\nabc\r\n"), 400),
    "a chunk longer than said": (post(CHUNKED, body=b"2\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk with a giant extension": (post(CHUNKED, body=b"2;x=" + b"y" * 100_000 + b"\r\nab\r\n"), 400),
    "chunks with a flood of trailers": (post(CHUNKED, body=b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"), 400),
    "chunks without end": (post(CHUNKED, body=chunk(FORM)), 408),
}

ODD_PART = f"--{BOUNDARY}\r\n".encode()
FORMS = {
    "10 000 fields": (b"".join(part(f"f{n}", b"1") for n in range(10_000)) + END, 422, "too many parts"),
    "10 000 fields without names": (ODD_PART * 10_000 + END, 400, "can't be read"),
    "1 001 files": (b"".join(part(f"f{n}", b"1", "a.png") for n in range(1001)) + END, 422, "too many parts"),
    "20 unknown files": (b"".join(part(f"f{n}", bytes(3000), "a") for n in range(20)) + END, 422, "Unknown form field"),
    "a text twice": (part("emotion", b"sad") * 2 + END, 422, "emotion was sent twice"),
    "a file twice": (part("image", b"x", "a.png") * 2 + END, 422, "image was sent twice"),
    "a file and a text of the same name": (part("fps", b"9", "a") + part("fps", b"9") + END, 422, "fps was sent twice"),
    "a giant text": (part("emotion", b"s" * 100_000) + END, 422, "emotion is too long"),
    "a giant unknown file": (part("virus", bytes(500_000), "a.exe") + END, 422, "virus is too long"),
    "a giant field name": (part("n" * 100_000, b"1") + END, 400, "can't be read"),
    "a giant part header": (ODD_PART + b"X: " + b"y" * 100_000 + b"\r\n\r\n1\r\n" + END, 400, "can't be read"),
    "a giant part header name": (ODD_PART + b"X" * 100_000 + b": y\r\n\r\n1\r\n" + END, 400, "can't be read"),
    "10 000 part headers": (ODD_PART + b"X: y\r\n" * 10_000 + b"\r\n1\r\n" + END, 400, "can't be read"),
    "a part header without end": (ODD_PART + b"Content-Disposition: form-data", 400, "can't be read"),
    "a part header with a NUL": (ODD_PART + b"X\0: y\r\n\r\n1\r\n" + END, 400, "can't be read"),
    "a part without a name": (ODD_PART + b"\r\n1\r\n" + END, 422, "Unknown form field"),
    "a part of another kind": (ODD_PART + b'Content-Disposition: file; name="x"\r\n\r\n1\r\n' + END, 422, "Unknown"),
    "an encoded part": (
        ODD_PART
        + b"Content-Disposition: form-data; name=image\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n"
        + END,
        422,
        "audio is required",
    ),
    "a preamble": (b"This is a multi-part message.\r\n" + FORM, 422, "is required"),
    "a preamble with hyphens": (b"\r\n--x\r\n-\r\n" + FORM, 422, "is required"),
    "a preamble that ends with the boundary": (f"not --{BOUNDARY}\r\n".encode() + FORM, 422, "is required"),
    "a preamble like a part": (b'Content-Disposition: form-data; name="x"\r\n\r\n1\r\n' + FORM, 422, "is required"),
    "a preamble that is not ended": (b"no line end" + FORM, 422, "emotion is required"),
    "a preamble of lines": (b"\r\n" * 100_000 + FORM, 422, "is required"),
    "a preamble of 8 MB": (b"\r\n" * 4_000_000 + FORM, 422, "is required"),
    "a preamble of 10 MB": (bytes(10_000_000) + b"\r\n" + FORM, 413, "is too large"),
    "blanks after every boundary": (
        FORM.replace(f"{BOUNDARY}\r\n".encode(), f"{BOUNDARY} \t \r\n".encode()),
        422,
        "is required",
    ),
    "blanks after the last boundary": (FORM[:-2] + b" \t\r\n", 422, "is required"),
    "blanks after a middle boundary": (
        part("fps", b"9") + part("emotion", b"sad").replace(b"\r\n", b"\t\r\n", 1) + END,
        422,
        "is required",
    ),
    "blanks and more after a boundary": (
        part("fps", b"9") + part("emotion", b"sad").replace(b"\r\n", b" x\r\n", 1) + END,
        400,
        "can't be read",
    ),
    "no line end after the last boundary": (FORM[:-2], 422, "is required"),
    "an epilogue": (FORM + b"good bye" * 10_000, 422, "is required"),
    "no boundary in the body": (b"just some bytes", 400, "can't be read"),
    "another boundary": (FORM.replace(BOUNDARY.encode(), b"other"), 400, "can't be read"),
    "a boundary cut short": (FORM.replace(BOUNDARY.encode(), BOUNDARY.encode()[:-1]), 400, "can't be read"),
    "no last boundary": (part("emotion", b"sad"), 400, "can't be read"),
    "nothing but the last boundary": (END, 422, "is required"),
    "bare line feeds": (FORM.replace(b"\r\n", b"\n"), 400, "can't be read"),
    "nothing but line ends": (part("image", b"\r\n" * 400_000)[:-2], 400, "can't be read"),
    "almost boundaries": (part("image", f"\r\n--{BOUNDARY[:-1]}".encode() * 50_000)[:-2], 400, "can't be read"),
    "a form in a form": (part("image", FORM, "a") + END, 422, "is required"),
    "empty": (b"", 400, "can't be read"),
}

TYPES = {
    "none": "X-Nothing: here",
    "json": "Content-Type: application/json",
    "urlencoded": "Content-Type: application/x-www-form-urlencoded",
    "mixed": f"Content-Type: multipart/mixed; boundary={BOUNDARY}",
    "no boundary": "Content-Type: multipart/form-data",
    "an empty boundary": "Content-Type: multipart/form-data; boundary=",
    "a quote left open": 'Content-Type: multipart/form-data; boundary="',
    "a boundary of 10 000 bytes": "Content-Type: multipart/form-data; boundary=" + "x" * 10_000,
    "an 8-bit boundary": "Content-Type: multipart/form-data; boundary=\xff\xfe",
    "an RFC 2231 boundary": "Content-Type: multipart/form-data; boundary*=utf-8''x%00y",
    "boundaries by number": "Content-Type: multipart/form-data; boundary*0=a; boundary*1=b",
    "10 000 parameters": "Content-Type: multipart/form-data" + ";a=b" * 3000,
}

HEADS = {
    "10 000 headers": (get(b"/", *[b"X-%d: y" % n for n in range(10_000)]), 431),
    "101 headers": (get(b"/", *[b"X: y"] * 101), 431),
    "a header of 17 KB": (get(b"/", b"X: " + b"y" * 17_000), 431),
    "a header of 1 MB": (get(b"/", b"X: " + b"y" * 1_000_000), 431),
    "a header name of 1 MB": (get(b"/", b"X" * 1_000_000 + b": y"), 431),
    "a header without a colon": (get(b"/", b"nonsense"), 400),
    "a header with a NUL": (get(b"/", b"X: a\0b"), 400),
    "a header with a bare line end": (get(b"/", b"X: a\rb"), 400),
    "a blank before the colon": (get(b"/", b"Transfer-Encoding : chunked"), 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (get(b"/", b"Host: y"), 400),
    "an address of 9 KB": (get(b"/" + b"a" * 9000), 414),
    "a query of 9 KB": (get(b"/api/health?" + b"a" * 9000), 414),
    "an address of 1 MB": (get(b"/" + b"a" * 1_000_000), 414),
    "8-bit bytes in the address": (get(b"/\xff\xfe\xe2\x80\xae"), 400),
    "a NUL in the address": (get(b"/\0"), 400),
    "a blank in the address": (get(b"/a b"), 400),
    "no path": (get(b"nothing"), 404),
    "a star": (get(b"*", method=b"OPTIONS"), 404),
    "another server": (get(b"http://127.0.0.1:1/api/health"), 404),
    "a tunnel": (get(b"127.0.0.1:1", method=b"CONNECT"), 404),
    "two slashes": (get(b"//127.0.0.1:1/docs/"), 404),
    "a binary verb": (get(b"/", method=b"\1\2"), 400),
    "a verb of 1 MB": (get(b"/", method=b"G" * 1_000_000), 414),
    "an unheard-of verb": (get(b"/api/health", method=b"BREW"), 405),
    "a lower-case verb": (get(b"/api/health", method=b"get"), 405),
    "TRACE": (get(b"/api/health", method=b"TRACE"), 405),
    "DELETE": (get(b"/api/v1/synthesis/x/status", method=b"DELETE"), 405),
    "PUT": (get(START.encode(), method=b"PUT"), 405),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9 by name": (b"GET /api/health HTTP/0.9\r\nHost: x\r\n\r\n", 505),
    "HTTP/2.0": (b"GET /api/health HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/3.0": (b"GET /api/health HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/9.9": (b"GET /api/health HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    "HTTP/9.9 with a body": (b"POST /api/v1/preflight HTTP/9.9\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 505),
    "HTTP/1.2 without a host": (b"GET /api/health HTTP/1.2\r\n\r\n", 400),
    "HTTP/1.10": (b"GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    "http/1.1": (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "HTTP/99": (b"GET / HTTP/99\r\n\r\n", 400),
    "TLS": (bytes.fromhex("16030100f1010000ed0303") + bytes(230) + b"\r\n\r\n", 400),
    "noise": (bytes(range(256)) * 100 + b"\r\n\r\n", 400),
    "no words": (b"GARBAGE\r\n\r\n", 400),
    "a traversal": (get(b"/../../../etc/passwd"), 404),
    "a traversal from the static files": (get(b"/static-offline-docs/..%2f..%2f..%2f..%2fetc/passwd"), 404),
    "a NUL among the static files": (get(b"/static-offline-docs/%00"), 404),
    "a long name among the static files": (get(b"/static-offline-docs/" + b"a" * 5000), 404),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths(server: Service, name: str) -> None:
    request, status = LENGTHS[name]
    refused(exchange(server, request), *(status if isinstance(status, tuple) else (status,)))


@pytest.mark.parametrize("name", FORMS)
def test_forms(server: Service, name: str) -> None:
    body, status, message = FORMS[name]
    assert message in refused(exchange(server, sized(body)), status)


@pytest.mark.parametrize("name", TYPES)
def test_content_types(server: Service, name: str) -> None:
    refused(exchange(server, sized(FORM, TYPES[name])), 400, 422)


@pytest.mark.parametrize("name", HEADS)
def test_heads(server: Service, name: str) -> None:
    request, status = HEADS[name]
    refused(exchange(server, request), *(status if isinstance(status, tuple) else (status,)))


@pytest.mark.parametrize("field", ["image", "audio"])
def test_chunked_bodies_over_the_limit(server: Service, field: str) -> None:
    sent = 0
    with connect(server) as connection:
        connection.sendall(post(CHUNKED) + chunk(part(field, b"")[:-2]))
        while sent < 20_000_000:
            try:
                connection.sendall(chunk(bytes(100_000)))
            except ConnectionError:
                break
            sent += 100_000
        assert refused(Answer(connection), 413) == f"{field} is too large"


def test_one_request_never_hides_another(server: Service) -> None:
    """Where a proxy believes the length and this server the chunks, or the other way round."""
    with connect(server) as connection:
        connection.sendall(post("Content-Length: 5", CHUNKED, body=chunk(b"") + get(b"/api/health")))
        answer = b""
        while received := connection.recv(65536):
            answer += received
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_goes_wrong_after_the_answer(server: Service, caplog: pytest.LogCaptureFixture) -> None:
    with connect(server) as connection:
        connection.sendall(post(CHUNKED, kind="Content-Type: text/plain"))
        refused(Answer(connection), 422)
        connection.sendall(b"no number\r\n")
        assert connection.recv(100) == b""
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("pause", [0.02, UPLOAD_S / 2])
def test_bodies_that_arrive_in_drips_have_a_deadline(server: Service, pause: float) -> None:
    start = time.monotonic()
    with connect(server) as connection:
        connection.sendall(post("Content-Length: 500000"))
        connection.settimeout(pause)
        body = iter(part("image", bytes(400_000), "a.png"))
        while True:
            connection.sendall(bytes([next(body)]))
            try:
                if connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                assert time.monotonic() - start < 3 * UPLOAD_S
        connection.settimeout(20)
        assert refused(Answer(connection), 408) == "The upload took too long"
    assert time.monotonic() - start >= UPLOAD_S - 0.1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(protocol, "HEAD_S", 0.5)
    monkeypatch.setattr(protocol, "STALL_S", 0.5)
    return 0.5


@pytest.mark.parametrize("first", [b"", get(b"/api/health")], ids=["first request", "second request"])
def test_heads_that_arrive_in_drips_have_a_deadline(server: Service, impatient: float, first: bytes) -> None:
    with connect(server) as connection:
        if first:
            connection.sendall(first)
            assert Answer(connection, "GET").status == 200
        start = time.monotonic()
        connection.settimeout(0.05)
        for byte in get(b"/api/health", b"X: " + b"y" * 10_000):
            connection.sendall(bytes([byte]))
            try:
                if connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                pass
        assert impatient - 0.1 <= time.monotonic() - start < 5
        connection.settimeout(20)
        assert refused(Answer(connection), 408) == "The request took too long"


@pytest.mark.parametrize("request_", [b"", get(b"/api/health", b"Content-Length: 1000")], ids=["nothing", "a body"])
def test_connections_that_only_wait_are_closed(server: Service, impatient: float, request_: bytes) -> None:
    """Also those kept open by the body of a request that takes none, drip by drip."""
    with connect(server) as connection:
        connection.sendall(request_)
        if request_:
            assert Answer(connection, "GET").status == 200
        start = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - start < 10:
            try:
                if request_:
                    connection.sendall(b"x")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert impatient - 0.1 <= time.monotonic() - start < 5


def test_300_slow_clients_keep_nobody_out(server: Service, watch: Any) -> None:
    slow = [connect(server) for _ in range(300)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(get(b"/api/health")[: 5 + number % 20])
        watch.honest_upload()
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("way", ["closed", "half closed", "reset"])
def test_uploads_that_are_broken_off(
    server: Service, way: str, share: float, portrait: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = sized(part("image", portrait.read_bytes(), "a.png") + FORM)
    with connect(server) as connection:
        connection.sendall(whole[: len(whole) - int((1 - share) * len(portrait.read_bytes())) - 1])
        time.sleep(0.05)
        if way == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way == "half closed":
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000) == b""
    wait_for(lambda: server.synthesis._admission.uploads == 0)
    assert "Traceback" not in caplog.text


def test_a_body_in_pieces_of_one_byte_is_taken(server: Service) -> None:
    request = sized(FORM)
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        assert "is required" in refused(Answer(connection), 422)


def test_no_go_ahead_for_an_upload_that_is_too_large(server: Service) -> None:
    answer = exchange(server, post("Content-Length: 99000000", "Expect: 100-continue"))
    refused(answer, 413)


def test_pipelined_requests_are_answered_in_order(server: Service) -> None:
    paths = [b"/api/health", b"/api/v1/synthesis/x/status"]
    with connect(server) as connection:
        connection.sendall(b"".join(get(paths[number % 2]) for number in range(50)))
        stream = connection.makefile("rb")
        for number in range(50):
            head = b"".join(iter(stream.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 404" if number % 2 else b"HTTP/1.1 200")
            length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length"))
            stream.read(int(length.split(b":")[1]))


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n", b"\n"])
@pytest.mark.parametrize("drip", [False, True], ids=["at once", "byte by byte"])
def test_empty_lines_before_a_request_are_skipped(server: Service, lines: bytes, drip: bool) -> None:
    form = post(f"Content-Length: {len(FORM)}", body=FORM)
    requests_ = [(lines + get(b"/api/live"), 200), (lines + form, 422), (lines + get(b"/nothing"), 404)]
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request, status in requests_:
            for piece in [bytes([byte]) for byte in request] if drip else [request]:
                connection.sendall(piece)
            assert Answer(connection, "GET").status == status


def test_an_empty_line_after_a_form_before_the_next_request(server: Service) -> None:
    """In one piece, as some clients send it."""
    with connect(server) as connection:
        connection.sendall(sized(FORM) + b"\r\n" + get(b"/api/live") + b"\r\n" + get(b"/api/live"))
        answers = b""
        while answers.count(b"alive") < 2:
            received = connection.recv(65536)
            assert received, answers
            answers += received
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"422", b"200", b"200"]


def test_a_carriage_return_alone_is_no_empty_line(server: Service) -> None:
    refused(exchange(server, b"\r\r" + get(b"/api/live")), 400)


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2", b"1.9"])
def test_versions_that_are_spoken(server: Service, version: bytes) -> None:
    assert exchange(server, get(b"/api/live").replace(b"1.1", version)).status == 200


def test_no_other_protocol_is_spoken(server: Service) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: eA==")
    with connect(server) as connection:
        connection.sendall(get(b"/api/health", *upgrade))
        assert Answer(connection, "GET").status == 200


@pytest.fixture
def large(server: Service, portrait: Path, speech: Path) -> Iterator[tuple[str, Path]]:
    """A finished task whose video has 64 MB, more than the system keeps for a client that does not read."""
    task = server.submit(portrait, speech, seed=2)
    server.wait(task)
    file = server.settings.data_dir / "tasks" / server.synthesis.completed(task, None).render.id / "result.mp4"
    whole = file.read_bytes()
    with file.open("r+b") as video:
        video.truncate(64 * 1024 * 1024)
    yield task, file
    file.write_bytes(whole)


RANGES = {
    "beyond the end": ("bytes=99999999999999999999-", 416),
    "reversed": ("bytes=5-1", 400),
    "the last none": ("bytes=-0", 416),
    "two signs": ("bytes=--1", 400),
    "a plus": ("bytes=+1-+2", 400),
    "underscores": ("bytes=1_0-2_0", 400),
    "blanks inside": ("bytes=1 - 2", 400),
    "hexadecimal": ("bytes=0x1-0x2", 400),
    "a good one and words": ("bytes=0-1,a-b", 400),
    "a good one and a reversed one": ("bytes=0-1,5-1", 400),
    "of 5000 digits": ("bytes=0-" + "9" * 5000, 400),
    "of other units": ("lines=0-1", 200),
    "words in other units": ("lines=first", 200),
    "without an equals sign": ("bytes", 400),
    "empty": ("bytes=", 400),
    "a dash": ("bytes=-", 400),
    "words": ("bytes=a-b", 400),
    "superscript digits": ("bytes=\xb2-\xb3", 400),
    "more than there is": ("bytes=-99999999999", 206),
    "5000 of everything": ("bytes=" + ",".join(["0-"] * 5000), 200),
    "1000 of one byte": ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), 200),
    "90 of one byte": ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 180, 2)), 206),
    "90 that overlap": ("bytes=" + ",".join(f"{n}-" for n in range(90)), 206),
    "one good, one beyond": ("bytes=0-1,99999999-", 206),
    "two good, one beyond": ("bytes=0-1,99999999-,5-6", 206),
    "all beyond": ("bytes=99999998-99999999,99999999-,-0", 416),
    "empty elements": ("bytes=,0-1,,3-4 ,", 206),
    "in capitals": ("BYTES=0-1", 206),
}


def test_absurd_ranges(server: Service, portrait: Path, speech: Path) -> None:
    task = server.submit(portrait, speech, seed=1, duration=0.2)
    server.wait(task)
    whole = server.download(task).content
    for name, (header, status) in RANGES.items():
        answer = server.download(task, Range=header.encode("latin-1"))
        assert answer.status_code == status, name
        if status >= 400:
            refused(answer, status)
        assert len(answer.content) < len(whole) + 100 * 200, f"{name}: no more than the file, and a line for each part"


@needs_proc
@pytest.mark.parametrize("taken", [0, 100, 1_000_000])
def test_downloads_that_are_broken_off(
    server: Service, large: tuple[str, Path], taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    task, file = large
    with connect(server) as connection:
        connection.sendall(get(f"/api/v1/synthesis/{task}/download".encode()))
        while taken > 0:
            taken -= len(connection.recv(65536))
    wait_for(lambda: open_files(file) == 0)
    assert "Traceback" not in caplog.text


@needs_proc
def test_downloads_that_are_not_read_are_ended(server: Service, large: tuple[str, Path], impatient: float) -> None:
    task, file = large
    with connect(server) as connection:
        connection.sendall(get(f"/api/v1/synthesis/{task}/download".encode()))
        taken = len(connection.recv(1))
        wait_for(lambda: open_files(file) == 0)
        with contextlib.suppress(ConnectionError):
            while received := len(connection.recv(1 << 20)):
                taken += received
        assert 0 < taken < file.stat().st_size


def test_downloads_that_are_read_slowly_go_on(server: Service, large: tuple[str, Path], impatient: float) -> None:
    task, file = large
    taken = 0
    with connect(server) as connection:
        connection.sendall(get(f"/api/v1/synthesis/{task}/download".encode()))
        while taken < file.stat().st_size:
            received = connection.recv(2 << 20, socket.MSG_WAITALL)
            assert received
            taken += len(received)
            time.sleep(0.05)


def test_health_is_quick_while_bodies_are_parsed(server: Service) -> None:
    """Bodies that make the parser stop at every other byte."""
    bodies = [part("audio", filler * 2_000_000)[:-2] for filler in (b"\r\n", b"\r", b"\n--")]
    sending = [threading.Thread(target=exchange, args=(server, sized(body))) for body in bodies]
    for thread in sending:
        thread.start()
    begun, slowest = time.monotonic(), 0.0
    while any(thread.is_alive() for thread in sending):
        start = time.monotonic()
        assert requests.get(f"{server.url}/api/health", timeout=60).ok
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < max(1, (time.monotonic() - begun) / 4)  # where all is slow, so is this
