"""The Python client against the real server, also over a network that fails."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from api import keys
from api.schemas.service import Health as HealthSchema
from api.schemas.tasks import TaskCreated as TaskCreatedSchema
from api.schemas.tasks import TaskState as TaskStateSchema
from dice_talk import client as module
from dice_talk.client import (
    Client,
    Health,
    KeyRefused,
    NotInTime,
    Refused,
    ServerBusy,
    ServerUnreachable,
    TaskCreated,
    TaskFailed,
    TaskNotFound,
    TaskState,
)
from dice_talk.error_codes import ErrorCode
from dice_talk.video import probe
from tests.conftest import ROOT, Service
from tests.waiting import wait_for


class Relay:
    """A network between client and server. `cuts`: after so many bytes from the server, the next connections break."""

    def __init__(self, url: str, port: int = 0) -> None:
        address = urlsplit(url)
        self.server = (address.hostname, address.port)
        self.cuts: list[int] = []
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self.server)
                threading.Thread(target=self._up, args=(near, far), daemon=True).start()
                threading.Thread(target=self._down, args=(near, far), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(65536):
                if b" HTTP/1.1\r\n" in data:
                    self.heads.append(data.partition(b"\r\n\r\n")[0])
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        left: float | None = None
        with near, far, suppress(OSError):
            while data := far.recv(65536):
                if left is None:
                    left = self.cuts.pop(0) if self.cuts else float("inf")
                near.sendall(data[: int(min(left, len(data)))])
                left -= len(data)
                if left < 0:
                    break
            for end in (near, far):  # wakes up whoever still reads from them
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(real_service: Service) -> Iterator[Relay]:
    relay = Relay(real_service.url)
    yield relay
    relay.close()


def test_render_is_submit_wait_and_download(
    real_service: Service, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    states: list[TaskState] = []
    output = tmp_path / "result.mp4"
    with Client(real_service.url) as client:
        state = client.render(
            portrait, str(speech), output, "sad", progress=states.append, fps=12, duration=0.5, crop=True, seed=None
        )
    info = probe(output)
    assert (float(info.fps), info.frames, '"emotion": "sad"' in info.metadata["comment"]) == (12, 6, True)
    assert (state.status, state.engine, states[-1]) == ("COMPLETED", "lite", state)
    assert [state.progress for state in states] == sorted(state.progress for state in states)
    assert sorted(tmp_path.iterdir()) == [output]


def test_a_finished_video_replaces_the_file_at_once(
    real_service: Service, relay: Relay, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "result.mp4"
    output.write_bytes(b"old")
    with Client(real_service.url) as client:
        task = client.submit(portrait.read_bytes(), speech, duration=0.5)
        client.wait(task.task_id, timeout=60)
    with Client(relay.url) as client:
        relay.cuts = [900] * 3
        with pytest.raises(ServerUnreachable, match="broke off"):
            client.download(task.task_id, output)
        assert output.read_bytes() == b"old"
        relay.cuts = [900] * 2
        client.download(task.task_id, output)
    assert probe(output).frames == 12
    assert sorted(tmp_path.iterdir()) == [output]


def test_a_submission_that_breaks_off_is_repeated_with_the_same_key(relay: Relay, portrait: Path, speech: Path) -> None:
    relay.cuts = [0, 0]
    with Client(relay.url, backoff=0.01) as client:
        task = client.submit(portrait, speech, duration=0.2, seed=77)
        assert client.wait(task.task_id, timeout=60).seed == 77
    sent = [
        line.partition(b": ")[2]
        for head in relay.heads
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"idempotency-key")
    ]
    assert (len(sent), len(set(sent))) == (3, 1)


def test_a_server_that_starts_late_is_waited_for(real_service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (
        Client(url, retries=1, backoff=0.01) as client,
        pytest.raises(ServerUnreachable, match=f"No server answers at {url}"),
    ):
        client.health()
    relays: list[Relay] = []
    late = threading.Timer(0.5, lambda: relays.append(Relay(real_service.url, port)))
    late.start()
    with Client(url, backoff=0.2) as client:
        assert client.health().status == "healthy"
    late.join()
    relays[0].close()


def test_a_full_queue_is_waited_for(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", queue_size=1)
    wait_for(lambda: service.health()["model_loaded"])
    with Client(service.url) as client, Client(service.url, retries=0) as hasty:
        running = client.submit(portrait, speech)
        wait_for(lambda: client.status(running.task_id).status == "PROCESSING")
        client.submit(portrait, speech)
        with pytest.raises(Refused, match="Too many tasks are waiting") as refused:
            hasty.submit(portrait, speech)
        assert (refused.value.status, bool(refused.value.detail)) == (503, True)
        late = threading.Timer(0.5, (tmp_path / "gate").touch)
        late.start()
        patient = client.submit(portrait, speech)
        assert client.wait(patient.task_id, timeout=60).status == "COMPLETED"
        late.join()


def test_not_in_time(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("gated")
    with Client(service.url) as client:
        task = client.submit(portrait, speech)
        with pytest.raises(NotInTime, match=task.task_id):
            client.wait(task.task_id, timeout=0.3)


def test_follows_several_tasks(real_service: Service, portrait: Path, speech: Path) -> None:
    with Client(real_service.url) as client:
        tasks = [client.submit(portrait, speech, emotion, duration=0.3).task_id for emotion in ("happy", "sad")]
        last = {state.task_id: state.status for state in client.follow(*tasks, timeout=60)}
    assert last == dict.fromkeys(tasks, "COMPLETED")


def test_errors_have_the_words_of_the_server(real_service: Service, portrait: Path, speech: Path) -> None:
    with Client(real_service.url + "/") as client:
        with pytest.raises(Refused, match="fps must be between 8 and 60, got 100") as refused:
            client.submit(portrait, speech, fps=100)
        assert (refused.value.status, refused.value.code) == (400, ErrorCode.VALUE_OUT_OF_RANGE)
        assert refused.value.params == {"field": "fps", "low": 8, "high": 60, "got": "100"}
        with pytest.raises(Refused, match="emotion is not one of the known values") as refused:
            client.submit(portrait, speech, "bored")
        assert "sad, happy, " in str(refused.value.detail)
        with pytest.raises(TaskNotFound, match="Task not found"):
            client.status("no-such-task")
        with pytest.raises(Refused, match="Unknown form field: dance"):
            client.submit(portrait, speech, dance=1)


def test_a_failed_task(real_service: Service, speech: Path, tmp_path: Path) -> None:
    faceless = tmp_path / "grey.png"
    Image.new("RGB", (256, 256), "grey").save(faceless)
    with Client(real_service.url) as client:
        task = client.submit(faceless, speech)
        with pytest.raises(TaskFailed, match="No face was found") as failed:
            client.wait(task.task_id, timeout=60)
        assert (failed.value.state.status, failed.value.detail) == ("FAILED", failed.value.state.detail)
        assert failed.value.code is ErrorCode.NO_FACE


def test_the_key(serve: Any, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    secret = keys.add(file, "alice")
    service = serve(api_keys_file=file)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Client(service.url) as client, pytest.raises(KeyRefused, match="An API key is needed") as refused:
        client.submit(portrait, speech)
    assert (refused.value.status, refused.value.code) == (401, ErrorCode.KEY_MISSING)
    monkeypatch.setenv(module.KEY_VARIABLE, secret)
    monkeypatch.setenv(module.SERVER_VARIABLE, service.url)
    with Client() as client:
        assert client.wait(client.submit(portrait, speech).task_id, timeout=60).status == "COMPLETED"


def answering(status: int, body: bytes) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, b'{"error": "An API key is needed"}', KeyRefused, ErrorCode.UNKNOWN),
        (503, b'{"error": "Too many tasks are waiting", "detail": null}', ServerBusy, ErrorCode.UNKNOWN),
        (404, b'{"error": "Task not found"}', TaskNotFound, ErrorCode.UNKNOWN),
        (503, b'{"error": "No", "code": "of_a_later_release"}', ServerBusy, ErrorCode.UNKNOWN),
        (502, b"<html>Bad Gateway</html>", Refused, ErrorCode.UNKNOWN),
        (503, b"[]", ServerBusy, ErrorCode.UNKNOWN),
        (403, b'{"error": "No", "code": "key_revoked"}', KeyRefused, ErrorCode.KEY_REVOKED),
    ],
)
def test_servers_of_other_releases_and_proxies(status: int, body: bytes, kind: type[Refused], code: ErrorCode) -> None:
    server = answering(status, body)
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", retries=0) as client, pytest.raises(Refused) as refused:
            client.status("any")
    finally:
        server.shutdown()
        server.server_close()
    assert (type(refused.value), refused.value.code, refused.value.status) == (kind, code, status)


def test_what_is_no_server_of_ours(real_service: Service) -> None:
    for url, words in (
        (f"{real_service.url}/docs?", "not a DICE-Talk server"),
        ("localhost:1", "No server answers"),
        ("http://[::bad", "No server answers"),
    ):
        with Client(url, retries=0) as client, pytest.raises(ServerUnreachable, match=words):
            client.health()


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=0.2, retries=0) as client, pytest.raises(ServerUnreachable, match="No server answers"):
            client.health()


@pytest.mark.parametrize(
    ("kind", "schema"), [(TaskState, TaskStateSchema), (TaskCreated, TaskCreatedSchema), (Health, HealthSchema)]
)
def test_nothing_that_the_server_tells_is_lost(kind: Any, schema: Any) -> None:
    assert set(schema.model_fields) <= {field.name for field in fields(kind)}


def test_the_client_is_light() -> None:
    code = "import sys, dice_talk.client; print(sorted({'numpy', 'cv2', 'PIL', 'av', 'pydantic'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_cancels(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("gated")
    with Client(service.url) as client:
        task = client.submit(portrait, speech)
        assert client.cancel(task.task_id).cancelled


def test_a_server_without_a_scheme(real_service: Service) -> None:
    with Client(real_service.url.removeprefix("http://") + "/") as client:
        assert client.health().status == "healthy"
        assert client.server == real_service.url
    with Client("https://talk.example.org") as client:
        assert client.server == "https://talk.example.org"


def test_it_says_what_it_waits_for() -> None:
    said: list[str] = []
    with (
        Client("127.0.0.1:9", retries=2, backoff=0, waiting=said.append) as client,
        pytest.raises(ServerUnreachable),
    ):
        client.health()
    assert said == ["Waiting for the server at http://127.0.0.1:9, which does not answer..."] * 2
    server = answering(503, b"{}")
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with Client(url, retries=1, backoff=0, waiting=said.append) as client, pytest.raises(ServerBusy):
            client.health()
    finally:
        server.shutdown()
        server.server_close()
    assert said[2:] == [f"Waiting for the server at {url}, which is busy..."]
