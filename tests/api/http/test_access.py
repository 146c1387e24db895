"""API keys, their limits, CORS and security headers, over real HTTP."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from api import keys
from api.errors import TooManyRequests
from api.http.access import Access, OwnRate
from api.keys import KeyFile
from api.settings import Settings
from tests.conftest import Service, running
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for

OPEN = ("/api/health", "/api/live", "/api/ready")


class Client:
    """Speaks to a service with a key, or without one."""

    def __init__(self, service: Service, key: str | None = None) -> None:
        self.service = service
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def start(self, portrait: Path, speech: Path, **fields: Any) -> requests.Response:
        files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
        data = {"emotion": "happy", "duration": 0.5, **fields}
        return requests.post(self.url("start"), files=files, data=data, headers=self.headers, timeout=30)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url(path), headers=self.headers, timeout=60)

    def url(self, path: str) -> str:
        return f"{self.service.url}/api/v1/synthesis/{path}".rstrip("/")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def guarded(serve: Any, file: Path) -> Callable[..., tuple[Service, Client, Client]]:
    """Start a service with two keys; gives it and a client for each: guarded(kind, **settings)."""

    def start(kind: str = "quick", **settings: Any) -> tuple[Service, Client, Client]:
        secrets = [keys.add(file, name) for name in ("alice", "bob")]
        service = serve(kind, api_keys_file=file, **settings)
        return service, Client(service, secrets[0]), Client(service, secrets[1])

    return start


def test_without_a_key_nothing_is_told_or_taken(guarded: Any, portrait: Path, speech: Path) -> None:
    service, _, _ = guarded()
    for key in (None, "dtk_wrong", "é"):
        client = Client(service, key and key.encode().decode("latin-1"))
        for answer in (client.start(portrait, speech), client.get("x/status"), client.get("x/download")):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert error_of(answer) == ("The API key is not known" if key else "An API key is needed")
    basic = requests.get(Client(service).url("x/status"), auth=("alice", "secret"), timeout=60)
    assert (basic.status_code, error_of(basic)) == (401, "An API key is needed")
    assert service.files() == []


def test_an_upload_without_a_key_is_not_stored(guarded: Any, portrait: Path) -> None:
    service, _, _ = guarded()
    audio = bytes(20 * 2**20)
    with ThreadPoolExecutor(1) as pool:
        files = {"image": portrait.read_bytes(), "audio": audio}
        sending = pool.submit(requests.post, Client(service).url("start"), files=files, timeout=30)
        while not sending.done():
            assert service.files() == []
        assert sending.result().status_code == 401


def test_what_stays_open(guarded: Any) -> None:
    service, _, _ = guarded()
    for path in (*OPEN, "/", "/docs", "/redoc", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
        assert requests.get(service.url + path, timeout=60).status_code == 200, path


def test_a_task_is_seen_with_the_key_that_made_it_only(guarded: Any, portrait: Path, speech: Path) -> None:
    _, alice, bob = guarded()
    task = alice.start(portrait, speech, seed=5).json()["task_id"]
    assert bob.get(f"{task}/status").status_code == 404
    wait_for_end(alice, task)
    for verb in ("status", "download"):
        answer = bob.get(f"{task}/{verb}")
        assert (answer.status_code, error_of(answer)) == (404, "Task not found")
    assert alice.get(f"{task}/download").status_code == 200
    shared = bob.start(portrait, speech, seed=5).json()
    assert (shared["status"], shared["task_id"] != task) == ("COMPLETED", True)
    assert bob.get(f"{shared['task_id']}/download").content == alice.get(f"{task}/download").content
    assert alice.get(f"{shared['task_id']}/status").status_code == 404


def test_keys_turned_on_and_off(file: Path, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """What was made with a key is seen with it only, also while none is needed; and the other way round."""
    key = keys.add(file, "alice")
    seen = []
    made: list[str] = []
    for needed in (None, file, None):
        settings = Settings(data_dir=tmp_path, log_dir=tmp_path, shutdown_seconds=0, api_keys_file=needed)
        with running(settings, "quick", tmp_path / "gate") as service:
            client = Client(service, key if needed else None)
            if len(made) < 2:
                made.append(client.start(portrait, speech).json()["task_id"])
            seen.append([client.get(f"{task}/status").status_code for task in made])
    assert seen == [[200], [404, 200], [200, 404]]


def test_no_minute_has_more_requests_than_allowed(file: Path) -> None:
    now = [0.0]
    key = keys.add(file, "alice")
    access = Access(KeyFile(file), OwnRate(3, clock=lambda: now[0]))
    admitted = []
    for step in range(2000):
        now[0] = step / 10
        try:
            asyncio.run(access.admit(f"Bearer {key}"))
        except TooManyRequests as error:
            assert error.headers
            assert 0 < int(error.headers["Retry-After"]) <= 60
        else:
            admitted.append(now[0])
    assert all(fourth - first >= 60 for first, fourth in zip(admitted, admitted[3:], strict=False))
    assert len(admitted) == 12
    assert admitted[3] == 60.0


def test_waiting_tasks_of_one_key(guarded: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    _, alice, bob = guarded("gated", workers=1, key_queue_size=3)
    wait_for_end(bob, bob.start(portrait, speech).json()["task_id"], "PROCESSING")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: alice.start(portrait, speech), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert error_of(refused) == "Too many of your tasks are waiting"
    assert int(refused.headers["retry-after"]) > 0
    assert bob.start(portrait, speech).status_code == 200
    (tmp_path / "gate").touch()
    for answer in answers:
        if answer.status_code == 200:
            wait_for_end(alice, answer.json()["task_id"])
    assert alice.start(portrait, speech).status_code == 200


def test_other_sites_pages_are_let_in_by_setting_only(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    page = {"Origin": "https://page.example"}
    closed = serve(data_dir=tmp_path / "closed")
    answer = requests.get(f"{closed.url}/api/health", headers=page, timeout=60)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    service = serve(cors_origins="https://other.example, https://page.example")
    for path in ("/api/health", "/api/v1/synthesis/x/status", "/nowhere"):
        answer = requests.get(service.url + path, headers=page, timeout=60)
        assert answer.headers["access-control-allow-origin"] == "https://page.example", path
        stranger = requests.get(service.url + path, headers={"Origin": "https://evil.example"}, timeout=60)
        assert "access-control-allow-origin" not in stranger.headers
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    url = f"{service.url}/api/v1/synthesis/start"
    preflight = requests.options(url, headers=page | asked, timeout=60)
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (200, "authorization")
    refused = requests.options(url, headers={"Origin": "https://evil.example"} | asked, timeout=60)
    assert (refused.status_code, error_of(refused)) == (400, "Disallowed CORS origin")
    refused = requests.options(url, headers=page | {"Access-Control-Request-Method": "PUT"}, timeout=60)
    assert (refused.status_code, refused.json()["code"]) == (400, "origin_method")
    assert "GET, HEAD, POST and DELETE" in refused.json()["detail"]
    both = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    assert requests.options(url, headers=both, timeout=60).json()["code"] == "origin_not_allowed"


def test_an_unforeseen_error_has_all_headers_too(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve(cors_origins="*")
    monkeypatch.setattr(service.synthesis, "health", lambda: 1 / 0)
    answer = requests.get(f"{service.url}/api/health", headers={"Origin": "https://page.example"}, timeout=60)
    assert (answer.status_code, error_of(answer)) == (500, "Internal server error")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs", "/api/health", "/nowhere", "/static-offline-docs/swagger-ui.css"])
def test_security_headers(real_service: Any, path: str) -> None:
    headers = requests.get(real_service.url + path, timeout=60).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert ("unsafe-inline" in policy) == (path == "/docs")


def wait_for_end(client: Client, task: str, *statuses: str) -> None:
    wait_for(lambda: client.get(f"{task}/status").json().get("status") in (statuses or ("COMPLETED", "FAILED")))


def test_nobody_else_can_list_end_remove_or_repeat_a_task(guarded: Any, portrait: Path, speech: Path) -> None:
    _, alice, bob = guarded("gated")
    mine = alice.start(portrait, speech, seed=5).json()["task_id"]
    theirs = bob.start(portrait, speech, seed=5).json()["task_id"]
    for verb, path in (("post", "cancel"), ("post", "retry"), ("get", "events")):
        answer = requests.request(verb, alice.url(f"{theirs}/{path}"), headers=alice.headers, timeout=60)
        assert (answer.status_code, error_of(answer)) == (404, "Task not found")
    assert requests.delete(alice.url(theirs), headers=alice.headers, timeout=60).status_code == 404
    assert [state["task_id"] for state in alice.get("").json()["tasks"]] == [mine]
    assert requests.get(alice.url(""), timeout=60).status_code == 401
    assert requests.delete(alice.url(mine), headers=alice.headers, timeout=60).status_code == 204
    assert bob.get(f"{theirs}/status").json()["status"] in ("PENDING", "PROCESSING"), "a shared render goes on"


def test_an_idempotency_key_belongs_to_who_sent_it(guarded: Any, portrait: Path, speech: Path) -> None:
    _, alice, bob = guarded()
    made = set()
    for client, emotion in ((alice, "sad"), (bob, "happy"), (alice, "sad")):
        client.headers["Idempotency-Key"] = "1"
        made.add(client.start(portrait, speech, emotion=emotion).json()["task_id"])
    assert len(made) == 2


@pytest.mark.parametrize("way", ["revoked", "line removed", "file removed"])
def test_a_revoked_key_ends_its_streams(guarded: Any, file: Path, portrait: Path, speech: Path, way: str) -> None:
    _, alice, bob = guarded("gated")
    streams = []
    for client in (alice, bob):
        task = client.start(portrait, speech).json()["task_id"]
        url = client.url(f"{task}/events")
        streams.append(requests.get(url, headers=client.headers, stream=True, timeout=30).iter_content(1))
        assert next(streams[-1]) == b"e"
    lines = file.read_text().splitlines(keepends=True)
    if way == "revoked":
        keys.revoke(file, "alice")
    elif way == "line removed":
        file.write_text("".join(line for line in lines if not line.startswith("alice")))
    else:
        file.unlink()
    began = time.monotonic()
    text = b"".join(streams[0]).decode()
    assert time.monotonic() - began < 5
    assert text.startswith("vent: state")
    assert "event: end" not in text
    assert alice.get("x/status").status_code == (403 if way == "revoked" else 401)
    if way != "file removed":
        task = bob.get("").json()["tasks"][0]["task_id"]
        requests.post(bob.url(f"{task}/cancel"), headers=bob.headers, timeout=30)
        assert "event: end" in b"".join(streams[1]).decode()


def test_a_key_whose_tasks_all_wait_may_share_what_does_not(
    guarded: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    _, alice, bob = guarded("gated", key_queue_size=1)
    wait_for_end(bob, bob.start(portrait, speech, seed=1).json()["task_id"], "PROCESSING")
    bob.start(portrait, speech, seed=2)
    assert alice.start(portrait, speech).status_code == 200
    assert [alice.start(portrait, speech, seed=seed).status_code for seed in (1, 2, 3)] == [200, 429, 429]
    files = {"image": portrait.read_bytes()}
    url = f"{alice.service.url}/api/v1/preflight"
    assert requests.post(url, files=files, headers=alice.headers, timeout=60).status_code == 200
