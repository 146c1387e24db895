"""How the service listens and stops; whole runs are in tests/faults/test_shutdown.py."""

import asyncio
import logging
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from api import server
from api.http.protocol import Http
from api.server import Server, configure_logging, http_server
from api.settings import Settings, StartError
from tests.api.parts import Parts


def test_a_free_port_is_bound_before_anything_is_loaded() -> None:
    with server._listen(Settings(port=0)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listener.proto == socket.IPPROTO_TCP, "without it, asyncio would not set TCP_NODELAY"
        port = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(
            StartError, match=f"cannot listen on 127.0.0.1 port {port}: .*Choose another port with DICE_TALK_PORT"
        ):
            server._listen(Settings(port=port))
    server._listen(Settings(port=port)).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6() -> None:
    try:
        listener = server._listen(Settings(port=0, host="::1"))
    except StartError as error:
        pytest.skip(str(error))
    with listener:
        assert listener.family is socket.AF_INET6


def test_an_address_that_is_not_this_machines() -> None:
    with pytest.raises(StartError, match="Choose another host with DICE_TALK_HOST"):
        server._listen(Settings(host="192.0.2.1"))


def test_a_log_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(StartError, match=r"the log folder .*logs cannot be used: "):
        configure_logging(Settings(log_dir=tmp_path / "logs"))


def test_as_many_files_as_the_system_grants() -> None:
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(few, 256), most))
        server._allow_many_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))


def test_what_serves_an_app(parts: Parts) -> None:
    made = http_server(parts.app)
    config = made.config
    assert isinstance(made, Server)
    assert config.http is Http
    assert (config.ws, config.server_header, config.proxy_headers, config.access_log) == ("none", False, False, False)


def test_the_first_signal_stops_and_the_second_one_hurries(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    made, hurried = http_server(parts.app), []
    monkeypatch.setattr(parts.dispatcher, "end_grace", lambda: hurried.append(1))
    made.handle_exit(signal.SIGTERM, None)
    assert (made.should_exit, parts.admission.closed, hurried) == (True, True, [])
    made.handle_exit(signal.SIGTERM, None)
    assert hurried == [1]


def test_tasks_get_their_time_before_the_door_closes(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls: list[str] = []

    def note(name: str) -> Any:
        async def called(*_: Any, **__: Any) -> None:
            calls.append(name)

        return called

    monkeypatch.setattr(parts.synthesis, "drain", note("drain"))
    monkeypatch.setattr(parts.services.receipts, "close", note("receipts"))
    monkeypatch.setattr("uvicorn.Server.shutdown", note("door"))
    asyncio.run(http_server(parts.app).shutdown())
    assert calls == ["drain", "receipts", "door"]
    assert "tasks have 10 s to finish" in caplog.text
