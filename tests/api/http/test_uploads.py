"""Uploads that are too large, cut off, or shaped to do harm; on raw sockets where a client library would object."""

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from api.http.middleware import LINGER_BYTES
from api.http.uploads import StoredFile
from api.inspection.children import Children
from api.settings import Settings
from tests.conftest import Service, running
from tests.forms import END, HEADERS, part
from tests.waiting import wait_for


def post(service: Any, body: Any, **headers: str) -> requests.Response:
    return requests.post(f"{service.url}/api/v1/synthesis/start", data=body, headers={**HEADERS, **headers}, timeout=30)


def raw(service: Any, head: str, body: bytes) -> tuple[int, Any]:
    """Status and body of the answer to bytes sent as they are."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(f"POST /api/v1/synthesis/start HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    top, _, text = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(text)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server that takes 0.1 MB of image and 0.2 MB of audio."""
    folder = tmp_path_factory.mktemp("small")
    limits: dict[str, Any] = {"max_image_mb": 0.1, "max_audio_mb": 0.2}
    settings = Settings(data_dir=folder / "data", log_dir=folder / "logs", shutdown_seconds=0.1, workers=1, **limits)
    with running(settings, "quick", folder / "gate") as service:
        yield service


@pytest.mark.parametrize(("field", "allowed"), [("image", "0.1"), ("audio", "0.2")])
def test_too_large_is_told_and_leaves_nothing(small: Any, field: str, allowed: str) -> None:
    answer = post(small, part(field, bytes(300_000)) + END)
    assert answer.status_code == 413
    assert answer.json()["error"] == f"{field} is too large"
    assert f"{field} at most {allowed} MB" in answer.json()["detail"]
    assert small.files() == []


def test_exactly_the_limit_is_taken(small: Any, speech: Path) -> None:
    limit = small.settings.max_image_bytes
    assert post(small, part("image", bytes(limit)) + END).status_code == 422  # only the rest of the form is missing
    assert post(small, part("image", bytes(limit + 1)) + END).status_code == 413


def test_a_large_declared_length_is_refused_before_reading(small: Any) -> None:
    start = time.monotonic()
    status, body = raw(small, f"Content-Type: {HEADERS['Content-Type']}\r\nContent-Length: 5000000000", b"")
    assert (status, body["error"]) == (413, "The upload is too large")
    assert time.monotonic() - start < 10


def test_chunked_bodies_without_length_are_counted(small: Any) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield part("image", b"")[:-2]
        for _ in range(2000):
            sent += 100_000
            yield bytes(100_000)

    with suppress(requests.ConnectionError):  # the server may have closed before this client looks for an answer
        assert post(small, endless()).status_code == 413
    assert sent < LINGER_BYTES + 20_000_000, "it must be cut off"
    assert small.files() == []
    assert requests.get(f"{small.url}/api/health", timeout=60).ok


def test_a_client_that_sends_all_before_reading_gets_its_answer(small: Any) -> None:
    answer = post(small, part("image", bytes(20_000_000)) + END)
    assert answer.status_code == 413


def test_too_many_uploads_at_once(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve(uploads=1)
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"Content-Type: {HEADERS['Content-Type']}\r\nContent-Length: 90000"
        connection.sendall(f"POST /api/v1/synthesis/start HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        wait_for(lambda: any("incoming/" in name for name in service.files()))
        refused = service.start(portrait, speech)
        assert (refused.status_code, refused.json()["error"]) == (503, "Too many uploads at the same time")
        assert refused.headers["retry-after"]
    wait_for(lambda: service.start(portrait, speech).status_code == 200)


def test_too_little_room_on_the_disk(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve(min_free_mb=1e12)
    assert service.start(portrait, speech).status_code == 503
    health = requests.get(f"{service.url}/api/health", timeout=60).json()
    assert (health["status"], health["detail"]) == ("unhealthy", "The server has too little room on its disk")


def test_an_inspection_that_does_not_work_is_not_the_clients_fault(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = serve()
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert service.start(portrait, speech).status_code == 500
    assert "dice_talk.intake does not work" in caplog.text


def test_what_a_disk_takes_in_parts_is_written_whole(tmp_path: Path) -> None:
    stored = StoredFile(tmp_path / "image")
    real = stored.file

    class Reluctant:
        def write(self, data: memoryview) -> int:
            return real.write(data[: (len(data) + 1) // 2])

    stored.file = Reluctant()  # type: ignore[assignment]
    stored.append(b"0123456789")
    real.close()
    assert stored.path.read_bytes() == b"0123456789"
    assert stored.sha256 == hashlib.sha256(b"0123456789").hexdigest()


def test_files_that_are_known_are_not_read_again(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.inspection.intake.REMEMBERED", 2)
    service = serve()
    pairs = [(portrait.read_bytes() + bytes(number), speech) for number in range(3)]
    inspected, ask = [], Children.ask

    async def counted(self: Children, module: str, *arguments: str, seconds: float) -> dict[str, Any]:
        inspected.append(module)
        return await ask(self, module, *arguments, seconds=seconds)

    monkeypatch.setattr(Children, "ask", counted)
    for pair, inspections in [(0, 1), (0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)]:  # the third replaces the second
        assert service.start(*pairs[pair]).status_code == 200
        assert len(inspected) == inspections
    assert service.start(b"no picture", speech).status_code == 400
    assert service.start(b"no picture", speech).status_code == 400
    assert len(inspected) == 6, "what was refused is not known"


def test_a_file_sent_without_a_filename_is_taken(real_service: Any, portrait: Path, speech: Path) -> None:
    body = part("image", portrait.read_bytes()) + part("audio", speech.read_bytes()) + part("emotion", b"sad") + END
    assert post(real_service, body).status_code == 200


def test_an_empty_file_field_counts_as_missing(real_service: Any, speech: Path) -> None:
    body = part("image", b"", "") + part("audio", speech.read_bytes(), "a.wav") + part("emotion", b"sad") + END
    assert post(real_service, body).json()["error"] == "image is required"


def test_an_empty_file_is_named(real_service: Any, speech: Path) -> None:
    body = part("image", b"", "a.png") + part("audio", speech.read_bytes(), "a.wav") + part("emotion", b"sad") + END
    assert post(real_service, body).json()["error"] == "The image file is empty"
