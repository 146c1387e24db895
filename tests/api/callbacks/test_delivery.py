"""Callbacks, to a real receiver: what it gets, how often, and where none may go."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook, WebhookVerificationError

from api import keys
from api import webhooks as webhooks_command
from api.callbacks import delivery as webhooks
from api.settings import Settings
from tests.api.http.test_access import Client
from tests.conftest import Service, running
from tests.faults.process import server_process
from tests.features.test_documented_api import error_of
from tests.receiver import Receiver, receiving
from tests.waiting import wait_for

SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
LOCAL: dict[str, Any] = {"webhook_networks": "127.0.0.0/8", "webhook_secret": SECRET}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Shared by the tests that leave nothing to be delivered."""
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(data_dir=folder / "data", log_dir=folder / "logs", shutdown_seconds=0.1, workers=1, **LOCAL)
    with running(settings, "quick", folder / "gate") as service:
        yield service


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "RETRY_S", (0.1, 0.2, 0.3))


def callbacks(service: Service) -> Any:
    """What is still to be delivered."""
    return service.synthesis._store.callbacks_due(datetime.max, 100)


def test_a_finished_task_is_told_once_and_signed(
    service: Service, portrait: Path, speech: Path, receiver: Receiver
) -> None:
    task = service.submit(portrait, speech, callback_url=f"{receiver.url}?who=me#part")
    state = service.wait(task)
    (received,) = receiver.wait()
    event = received.verify(SECRET)
    assert (event["type"], event["data"]) == ("synthesis.completed", state)
    assert event["timestamp"].startswith(state["updated_at"])
    assert event["timestamp"].endswith("Z")
    assert (received.path, received.id) == ("/hook?who=me", task)
    assert received.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(received.body.replace(b"COMPLETED", b"FAILED"), received.headers)
    wait_for(lambda: not callbacks(service))
    time.sleep(2 * webhooks.LOOK_EVERY_S)
    assert len(receiver.received) == 1
    assert "callback" not in str(service.status(task)), "the address is nobody else's business"


def test_a_failed_task_is_told_too(serve: Any, portrait: Path, speech: Path, receiver: Receiver) -> None:
    serve("refuses", **LOCAL).submit(portrait, speech, callback_url=receiver.url)
    event = receiver.event()
    assert (event["type"], event["data"]["message"]) == ("synthesis.failed", "No face was found")


def test_tasks_that_share_a_render_have_callbacks_of_their_own(
    serve: Any, portrait: Path, speech: Path, receiver: Receiver, tmp_path: Path
) -> None:
    service = serve("gated", **LOCAL)
    urls = [f"{receiver.url}/{number}" for number in range(3)]
    tasks = [service.submit(portrait, speech, seed=1, callback_url=url) for url in urls[:2]]
    service.submit(portrait, speech, seed=1)
    time.sleep(2 * webhooks.LOOK_EVERY_S)
    assert not receiver.received
    (tmp_path / "gate").touch()
    service.wait(tasks[0])
    tasks.append(service.submit(portrait, speech, seed=1, callback_url=urls[2]))
    received = {(request.path, request.id) for request in receiver.wait(3)}
    assert received == {(f"/hook/{number}", task) for number, task in enumerate(tasks)}


def test_a_cancelled_task_is_told_and_a_removed_one_is_not(
    serve: Any, portrait: Path, speech: Path, receiver: Receiver, tmp_path: Path
) -> None:
    service = serve("gated", **LOCAL)
    cancelled, shared, removed = (
        service.submit(portrait, speech, seed=seed, callback_url=receiver.url) for seed in (1, 1, 2)
    )
    tasks = f"{service.url}/api/v1/synthesis"
    requests.post(f"{tasks}/{cancelled}/cancel", timeout=30).raise_for_status()
    requests.delete(f"{tasks}/{removed}", timeout=30).raise_for_status()
    event = receiver.event()
    assert (event["type"], event["data"]) == ("synthesis.failed", service.status(cancelled))
    assert event["data"]["cancelled"]
    (tmp_path / "gate").touch()
    assert {received.id for received in receiver.wait(2)} == {cancelled, shared}
    wait_for(lambda: not callbacks(service))
    assert len(receiver.received) == 2


def test_a_repeated_request_has_one_callback_and_a_retry_its_own(
    service: Service, portrait: Path, speech: Path, receiver: Receiver
) -> None:
    start, repeated = f"{service.url}/api/v1/synthesis/start", {"Idempotency-Key": "order 17"}
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
    data: dict[str, Any] = {"emotion": "sad", "duration": 0.5, "callback_url": receiver.url}
    first, second = (
        requests.post(start, files=files, data=data, headers=repeated, timeout=30).json()["task_id"] for _ in range(2)
    )
    assert first == second
    data["callback_url"] += "/elsewhere"
    other = requests.post(start, files=files, data=data, headers=repeated, timeout=30)
    assert other.status_code == 409
    assert receiver.wait()[0].id == first
    retry = f"{service.url}/api/v1/synthesis/{first}/retry"
    service.wait(requests.post(retry, timeout=30).json()["task_id"])
    named = requests.post(retry, json={"callback_url": f"{receiver.url}/retry"}, timeout=30).json()["task_id"]
    received = receiver.wait(2)
    assert [(request.path, request.id) for request in received] == [("/hook", first), ("/hook/retry", named)]
    refused = requests.post(retry, json={"callback_url": "http://10.0.0.1/"}, timeout=30)
    assert (refused.status_code, error_of(refused)) == (400, "callback_url points to an address that is not allowed")


def test_keys_have_secrets_of_their_own(
    serve: Any, typed: Any, portrait: Path, speech: Path, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    clients = {name: keys.add(file, name) for name in ("alice", "bob")}
    service = serve(webhook_networks="127.0.0.0/8", api_keys_file=file)
    shown = {}
    for name, key in clients.items():
        task = Client(service, key).start(portrait, speech, callback_url=receiver.url).json()["task_id"]
        settings = {"DICE_TALK_API_KEYS_FILE": str(file), "DICE_TALK_DATA_DIR": str(service.settings.data_dir)}
        shown[task] = typed(webhooks_command.main, name, **settings).out.strip()
    assert "name one" in typed(webhooks_command.main, **settings).err
    first, second = receiver.wait(2)
    assert first.verify(shown[first.id])
    assert second.verify(shown[second.id])
    with pytest.raises(WebhookVerificationError):
        first.verify(shown[second.id])


def test_what_fails_is_tried_again_under_the_same_id(
    service: Service, portrait: Path, speech: Path, impatient: None
) -> None:
    statuses = [500, 302, 429, 200]
    with receiving(Receiver()) as other, receiving(Receiver(statuses.__getitem__, {"Location": other.url})) as receiver:
        task = service.submit(portrait, speech, callback_url=receiver.url)
        received = receiver.wait(4)
        wait_for(lambda: not callbacks(service))
        assert {request.id for request in received} == {task}
        assert len({request.body for request in received}) == 1
        assert all(request.verify(SECRET) for request in received)
        assert not other.received, "redirects are not followed"


@pytest.mark.parametrize(("status", "attempts"), [(503, 4), (410, 1)])
def test_it_is_given_up_at_last(
    service: Service, portrait: Path, speech: Path, impatient: None, status: int, attempts: int, caplog: Any
) -> None:
    with receiving(Receiver(lambda number: status)) as receiver:
        service.submit(portrait, speech, callback_url=receiver.url)
        # Callbacks of other tests, whose receivers are gone, may be given up meanwhile.
        end = f"callback given up after {attempts} attempts; last: answered with {status}"
        wait_for(lambda: end in caplog.text)
        wait_for(lambda: not callbacks(service))
        assert len(receiver.received) == attempts
        assert receiver.url not in caplog.text


def test_attempts_go_on_for_about_a_day() -> None:
    assert timedelta(hours=23) < timedelta(seconds=sum(webhooks.RETRY_S)) < timedelta(hours=24)
    assert list(webhooks.RETRY_S) == sorted(webhooks.RETRY_S)


def test_nobody_waits_for_slow_receivers(
    serve: Any, portrait: Path, speech: Path, receiver: Receiver, caplog: Any
) -> None:
    go_on = threading.Event()
    with receiving(Receiver(lambda number: 204 if go_on.wait(20) else 500)) as slow, closing(dripping()) as drip:
        service = serve(**LOCAL, webhook_seconds=1)
        for url in [slow.url] * 3 + [f"http://127.0.0.1:{drip.getsockname()[1]}/"] * 3 + [receiver.url]:
            service.wait(service.submit(portrait, speech, seed=1, callback_url=url))
        began = time.monotonic()
        receiver.wait()
        assert time.monotonic() - began < 2
        wait_for(lambda: caplog.text.count("attempt 1: no answer within 1 s") == 6)
        go_on.set()


def dripping() -> socket.socket:
    """A server whose answers never get to an end, with a head of one more line each 0.2 s."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            try:
                while True:
                    time.sleep(0.2)
                    connection.sendall(b"X: y\r\n")
            except OSError:
                pass

    def serve() -> None:
        try:
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
    ids=["nothing", "rubbish", "endless head", "nothing but preludes"],
)
def test_answers_that_are_none_are_failures(
    serve: Any, portrait: Path, speech: Path, caplog: Any, answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = serve(**LOCAL, webhook_seconds=60)
        service.submit(portrait, speech, callback_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(answer)
            except OSError:
                assert answer, "it hung up in the middle"
        wait_for(lambda: "callback, attempt 1: no answer, " in caplog.text)


def test_the_body_of_an_answer_is_not_waited_for(service: Service, portrait: Path, speech: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service.submit(portrait, speech, callback_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
            wait_for(lambda: not callbacks(service))
            wait_for(lambda: connection.recv(65536) == b"")


def test_it_goes_with_its_task(serve: Any, portrait: Path, speech: Path) -> None:
    now = [datetime(2030, 1, 1, 12)]
    service = serve(clock=lambda: now[0], sweep_seconds=0.1, **LOCAL)
    service.wait(service.submit(portrait, speech, callback_url="http://127.0.0.1:9999/nobody"))
    wait_for(lambda: [callback.attempts for callback in callbacks(service)] == [1])
    now[0] += timedelta(hours=25)
    wait_for(lambda: not callbacks(service))


def test_what_is_owed_outlives_a_restart(portrait: Path, speech: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.1, **LOCAL)
    receiver = Receiver(lambda number: 500)
    with receiving(receiver), running(settings, "quick", tmp_path / "gate") as service:
        task = service.submit(portrait, speech, callback_url=receiver.url)
        receiver.wait()
        wait_for(lambda: [callback.attempts for callback in callbacks(service)] == [1])
    receiver.answer = lambda number: 204
    with receiving(receiver), running(settings, "quick", tmp_path / "gate") as service:
        again = receiver.wait(2)[1]
        assert again.id == task
        assert again.verify(SECRET)["data"] == service.status(task)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/",
        "http://localhost:9000/",
        "http://a.localhost./",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://017700000001/",
        "http://１２７.0.0.1/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1]/",
        "https://[fd00:ec2::254]/",
    ],
)
def test_places_within_are_refused_at_once(real_service: Any, portrait: Path, speech: Path, url: str) -> None:
    answer = real_service.start(portrait, speech, callback_url=url)
    assert (answer.status_code, error_of(answer)) == (400, "callback_url points to an address that is not allowed")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me@example.org/", "callback_url must not hold a user name or password"),
        ("https://me:secret@example.org/", "callback_url must not hold a user name or password"),
        ("http://example.org:22/", "callback_url names a port that is not allowed"),
        ("http://example.org:0/", "callback_url names a port that is not allowed"),
    ],
)
def test_addresses_of_a_strange_kind_are_refused(
    real_service: Any, portrait: Path, speech: Path, url: str, message: str
) -> None:
    answer = real_service.start(portrait, speech, callback_url=url)
    assert (answer.status_code, error_of(answer)) == (400, message)
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://example.org/", "file:///etc/passwd", "http://", "http://a b/", f"http://x/{'y' * 2100}"]
)
def test_what_is_no_address_is_malformed(real_service: Any, portrait: Path, speech: Path, url: str) -> None:
    answer = real_service.start(portrait, speech, callback_url=url)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("callback_url is not valid: ")


def test_names_are_looked_at_where_they_lead(
    serve: Any, portrait: Path, speech: Path, caplog: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name server says one thing when it is asked first, another later, and is asked once for each connection."""
    service, answers, real = serve(), iter(["192.0.2.1", "127.0.0.1", "127.0.0.1"]), socket.getaddrinfo
    asked = []

    def resolve(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        if host != "rebinding.example":
            return real(host, port, *arguments, **named)
        asked.append(host)
        return real(next(answers), port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    service.submit(portrait, speech, callback_url=f"http://rebinding.example:{receiver.port}/")
    wait_for(lambda: "callback, attempt 1: its address is not allowed" in caplog.text)
    assert len(asked) == 1
    time.sleep(0.2)
    assert not receiver.received


def test_neither_address_nor_secret_is_logged(portrait: Path, speech: Path, tmp_path: Path) -> None:
    variables = {"DICE_TALK_WEBHOOK_SECRET": SECRET}
    with receiving(Receiver(lambda number: 500 if number == 0 else 204)) as receiver:
        with server_process(
            tmp_path, "quick", variables=variables, webhook_networks="127.0.0.0/8", log_level="DEBUG"
        ) as service:
            token = "token-of-the-receiver"
            service.submit(portrait, speech, callback_url=f"{receiver.url}/{token}")
            service.start(portrait, speech, callback_url=f"http://10.0.0.1/{token}")
            receiver.wait(2)
            wait_for(lambda: "callback delivered" in (tmp_path / "logs" / "api.log").read_text())
        said = (tmp_path / "logs" / "api.log").read_text() + (tmp_path / "output").read_text()
        assert "callback, attempt 1: answered with 500" in said
        for kept in (token, receiver.url, SECRET, SECRET[6:]):
            assert kept not in said
