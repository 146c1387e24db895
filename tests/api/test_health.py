"""python -m api.health, asking a server that only says how it is."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from api import health


class Server(ThreadingHTTPServer):
    answer: bytes = json.dumps({"status": "healthy"}).encode()
    status = 200
    asked: tuple[str, str | None] = ("", None)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked = self.path, self.headers["host"]
            self.send_response(running.status)
            self.end_headers()
            self.wfile.write(running.answer)

        def log_message(self, *words: object) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("unhealthy", 1)])
def test_the_exit_code_says_how_it_is(typed: Any, server: Server, status: str, code: int) -> None:
    server.answer = json.dumps({"status": status, "detail": "x"}).encode()
    said = typed(health.main, DICE_TALK_PORT=str(server.server_port))
    assert (said.code, json.loads(said.out), said.err) == (code, {"status": status, "detail": "x"}, "")
    assert server.asked == ("/api/health", f"127.0.0.1:{server.server_port}")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_server_on_all_interfaces_is_asked_on_this_machine(typed: Any, server: Server, host: str) -> None:
    assert typed(health.main, DICE_TALK_PORT=str(server.server_port), DICE_TALK_HOST=host).code == 0


@pytest.mark.parametrize(
    ("hosts", "name"), [("example.org, b.example", "example.org"), ("*.example.org", "health.example.org")]
)
def test_a_server_that_knows_its_names_is_asked_by_one(typed: Any, server: Server, hosts: str, name: str) -> None:
    assert typed(health.main, DICE_TALK_PORT=str(server.server_port), DICE_TALK_ALLOWED_HOSTS=hosts).code == 0
    assert server.asked[1] == name


def test_no_server_and_no_answer(typed: Any, server: Server) -> None:
    server.answer = b"rubbish"
    said = typed(health.main, DICE_TALK_PORT=str(server.server_port))
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"No server answers at http://127.0.0.1:{server.server_port}/api/health: ")
    server.status = 500
    assert "Internal Server Error" in typed(health.main, DICE_TALK_PORT=str(server.server_port)).err
    assert "refused" in typed(health.main, DICE_TALK_PORT="1").err
    assert "http://[::1]:1/api/health" in typed(health.main, DICE_TALK_PORT="1", DICE_TALK_HOST="::").err


def test_wrong_settings(typed: Any) -> None:
    said = typed(health.main, DICE_TALK_PORT="x")
    assert (said.code, said.err.startswith("wrong setting: port")) == (1, True)
