"""The log of a real server process, and the ids of its requests."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from api import keys
from api.logs import JsonFormatter, _add_ids
from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for

ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def secret_and_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ServerProcess]]:
    folder = tmp_path_factory.mktemp("service")
    secret = keys.add(folder / "keys", "alice")
    with server_process(
        folder, "quick", log_format="json", log_level="DEBUG", api_keys_file=folder / "keys"
    ) as service:
        yield secret, service


def lines(service: ServerProcess, last: str) -> list[dict[str, Any]]:
    """Once there is one of the request whose X-Request-ID is `last`: it is written after the answer is sent."""
    log, output = service.settings.log_dir / "api.log", service.settings.data_dir.parent / "output"
    wait_for(lambda: f'"{last}"' in log.read_text() and f'"{last}"' in output.read_text())
    text = log.read_text()
    assert text == output.read_text(), "standard error says the same"
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_names_its_request_and_task(
    secret_and_service: tuple[str, ServerProcess], portrait: Path, speech: Path
) -> None:
    secret, service = secret_and_service
    url, headers = f"{service.url}/api/v1/synthesis", {"Authorization": f"Bearer {secret}"}
    answer = requests.post(
        f"{url}/start",
        files={"image": portrait.read_bytes(), "audio": speech.read_bytes()},
        data={"emotion": "sad", "duration": 0.5},
        headers=headers | {"X-Request-ID": "from:the-client/1"},
        timeout=30,
    )
    assert answer.headers["x-request-id"] == "from:the-client/1"
    task = answer.json()["task_id"]
    status = f"{url}/{task}/status"
    wait_for(lambda: requests.get(status, headers=headers, timeout=60).json()["status"] == "COMPLETED")
    requests.get(f"{url}/{task}/status?token=of-nobody", headers=headers | {"X-Request-ID": "polling"}, timeout=60)
    logged = lines(service, "polling")
    accepted, ended = (line for line in logged if line.get("request_id") == "from:the-client/1")
    assert accepted["message"] == f"task {task} of alice: lite, 0.5 s"
    assert accepted["task_id"] == ended["task_id"] == task
    assert (ended["logger"], ended["level"]) == ("api.http.request_log", "INFO")
    assert (ended["method"], ended["path"], ended["status"]) == ("POST", "/api/v1/synthesis/start", 200)
    assert (ended["client"], ended["key"]) == ("127.0.0.1", "alice")
    assert 0 < ended["duration_ms"] < 30_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", ended["time"])
    polled = next(line for line in logged if line.get("request_id") == "polling")
    assert (polled["task_id"], polled["path"]) == (task, f"/api/v1/synthesis/{task}/status")
    rendered = [line for line in logged if line["message"].startswith(("slot 1: render", "slot 2: render", "render "))]
    assert len(rendered) == 2
    assert all(line["task_id"] == task and "request_id" not in line for line in rendered)
    assert all("task_id" not in line for line in logged if "engine ready" in line["message"])
    everything = (service.settings.log_dir / "api.log").read_text()
    assert secret not in everything
    assert "of-nobody" not in everything


@pytest.mark.parametrize("sent", ["", "a b", "é", "x" * 129, '"', "a\tb"])
def test_ids_that_are_not_sane_are_replaced(secret_and_service: tuple[str, ServerProcess], sent: str) -> None:
    _, service = secret_and_service
    headers = {"X-Request-ID": sent.encode().decode("latin-1")}
    answer = requests.get(f"{service.url}/api/live", headers=headers, timeout=60)
    assert ID.fullmatch(answer.headers["x-request-id"])


def test_every_answer_has_an_id(secret_and_service: tuple[str, ServerProcess]) -> None:
    _, service = secret_and_service
    for path in ("/api/live", "/nowhere", "/docs", "/api/v1/synthesis/x/status", f"/{'x' * 9000}"):
        assert ID.fullmatch(requests.get(service.url + path, timeout=60).headers["x-request-id"]), path
    with socket.create_connection(("127.0.0.1", service.settings.port)) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert b"x-request-id: " in connection.recv(4096)


def test_ids_of_requests_on_one_connection_are_not_mixed(secret_and_service: tuple[str, ServerProcess]) -> None:
    secret, service = secret_and_service
    task = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
    first = f"GET /api/v1/synthesis/{task}/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
    second = "GET /api/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: second\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.settings.port)) as connection:
        connection.sendall(f"{first}X-Request-ID: first\r\n\r\n{second}".encode())
        while connection.recv(4096):
            pass
    ids = {line["request_id"]: line.get("task_id") for line in lines(service, "second") if line.get("request_id")}
    assert (ids["first"], ids["second"]) == (task, None)


def test_text_is_one_line_that_no_client_can_break(tmp_path: Path) -> None:
    with server_process(tmp_path, "quick") as service:
        path = "/api/v1/synthesis/x%0A2026-01-01%20INFO%20forged/status"
        requests.get(service.url + path, headers={"X-Request-ID": "mine"}, timeout=60)
        log = service.settings.log_dir / "api.log"  # written to after the answer is sent
        line = wait_for(lambda: next((line for line in log.read_text().splitlines() if "forged" in line), None))
    assert re.search(
        rf" INFO    api\.http\.request_log: 127\.0\.0\.1:\d+ GET {path}: 404, \d+\.\d ms \[request_id=mine\]$", line
    )


def test_an_unforeseen_error_is_found_by_the_id_of_its_answer(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    service = serve()
    monkeypatch.setattr(service.synthesis, "health", lambda: 1 / 0)
    caplog.handler.addFilter(_add_ids)
    answer = requests.get(f"{service.url}/api/health", timeout=60)
    record = wait_for(lambda: next((record for record in caplog.records if record.exc_info), None))
    assert record
    line = json.loads(JsonFormatter().format(record))
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivisionError" in line["exception"]
