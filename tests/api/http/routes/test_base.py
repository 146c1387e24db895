"""How routes admit clients and read forms: first the key, then the form."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api import keys
from api.caller import address, caller
from api.http.routes.base import FormRoute, KeyRoute, UploadedRequest, UploadRoute
from api.keys import KeyFile
from api.settings import Settings
from api.storage.local import LocalFiles
from api.tasks.store import TaskStore
from tests.api.asgi import Answer, call, exchange, scope_of
from tests.api.parts import Parts, make_parts
from tests.forms import END, HEADERS, part

START = "/api/v1/synthesis/start"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def guarded(settings: Settings, store: TaskStore, files: LocalFiles, file: Path) -> tuple[Parts, dict[str, str]]:
    """Parts that need a key, and the header with one."""
    secret = keys.add(file, "alice")
    parts = make_parts(settings, store, files, keys=KeyFile(file))
    return parts, {"authorization": f"Bearer {secret}"}


def test_upload_routes_look_at_the_key_before_the_form() -> None:
    assert UploadRoute.__mro__.index(KeyRoute) < UploadRoute.__mro__.index(FormRoute)


def test_a_request_without_a_key_is_not_read(guarded: tuple[Parts, dict[str, str]]) -> None:
    parts, _ = guarded
    answer = asyncio.run(exchange(parts.app, scope_of("POST", START, HEADERS), []))  # which would wait for a body
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert not (parts.settings.data_dir / "incoming").exists()


def test_the_owner_is_who_the_key_names(guarded: tuple[Parts, dict[str, str]]) -> None:
    parts, alice = guarded
    parts.wait("a", owner="alice")
    parts.wait("b")
    statuses = [call(parts.app, "GET", f"/api/v1/synthesis/{name}/status", alice).status for name in "ab"]
    assert statuses == [200, 404]


def test_every_request_is_counted(settings: Settings, store: TaskStore, files: LocalFiles, file: Path) -> None:
    alice = {"authorization": f"Bearer {keys.add(file, 'alice')}"}
    limited = settings.model_copy(update={"key_requests_per_minute": 2})
    parts = make_parts(limited, store, files, keys=KeyFile(file))
    statuses = [call(parts.app, "GET", "/api/v1/synthesis", alice).status for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_revoked_and_new_keys_count_at_once(guarded: tuple[Parts, dict[str, str]], file: Path) -> None:
    parts, alice = guarded

    def ask(headers: dict[str, str]) -> tuple[int, str]:
        answer = call(parts.app, "GET", "/api/v1/synthesis/x/status", headers)
        return answer.status, answer.json()["error"]

    assert ask(alice) == (404, "Task not found")
    keys.revoke(file, "alice")
    assert ask(alice) == (403, "The API key was revoked")
    again = {"authorization": f"Bearer {keys.add(file, 'alice')}"}
    assert (ask(again)[0], ask(alice)[0]) == (404, 403)
    file.unlink()
    assert ask(again) == (401, "The API key is not known")


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/engines", "/api/v1/synthesis", "/api/v1/synthesis/x/download"])
def test_they_are_needed_for_all_but_health(guarded: tuple[Parts, dict[str, str]], path: str) -> None:
    parts, alice = guarded
    assert call(parts.app, "GET", path).status == 401
    assert call(parts.app, "GET", path, alice).status in (200, 404)


def test_who_is_served_is_known_to_all_that_follows(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    async def note(*_: object) -> Any:
        seen.append((caller.get(), address.get()))
        raise ZeroDivisionError

    monkeypatch.setattr(parts.synthesis, "status", note)
    for client in (("2001:db8::1", 1), None):
        with pytest.raises(ZeroDivisionError):
            call(parts.app, "GET", "/api/v1/synthesis/a/status", client=client)
    assert seen == [(str(0x20010DB8 << 32), "2001:db8::1"), ("", "")]


def upload(parts: Parts, headers: dict[str, str], chunks: list[bytes]) -> Answer:
    return asyncio.run(exchange(parts.app, scope_of("POST", START, HEADERS | headers), chunks))


def test_a_key_that_is_revoked_during_its_upload(
    guarded: tuple[Parts, dict[str, str]], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, alice = guarded
    identify = parts.services.access.identify
    asked = []

    def revoke_then_identify(authorization: str | None) -> str | None:
        asked.append(authorization)
        if len(asked) == 2:
            keys.revoke(file, "alice")
        return identify(authorization)

    monkeypatch.setattr(parts.services.access, "identify", revoke_then_identify)
    answer = upload(parts, alice, [part("image", b"x"), END])
    assert (answer.status, answer.json()["error"]) == (403, "The API key was revoked")
    assert list((parts.settings.data_dir / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("chunks", "status", "error"),
    [
        ([part("image", b"x"), END], 422, "emotion is required; audio is required"),
        ([b"rubbish"], 400, "The form can't be read"),
        ([part("image", bytes(2000)), END], 413, "image is too large"),
        ([part("colour", b"red"), END], 422, "Unknown form field: colour"),
    ],
)
def test_forms_that_are_refused_leave_nothing(
    settings: Settings, store: TaskStore, files: LocalFiles, chunks: list[bytes], status: int, error: str
) -> None:
    parts = make_parts(settings.model_copy(update={"max_image_mb": 1000 / 2**20}), store, files)
    answer = upload(parts, {}, chunks)
    assert answer.status == status
    assert error in answer.json()["error"]
    assert list((settings.data_dir / "incoming").iterdir()) == []
    assert parts.admission.uploads == 0


def test_what_cannot_become_a_task_is_not_read(parts: Parts) -> None:
    parts.admission.closed = True
    for path in (START, "/api/v1/preflight", "/api/v1/verify"):
        answer = asyncio.run(exchange(parts.app, scope_of("POST", path, HEADERS), []))
        assert (answer.status, answer.json()["error"]) == (503, "The server is shutting down"), path


def test_limits_by_file_field(settings: Settings) -> None:
    assert FormRoute.limits(settings) == {"image": 10 * 2**20, "audio": 50 * 2**20}


def test_a_form_is_read_once() -> None:
    request = UploadedRequest({"type": "http", "state": {"form": "what was read"}})
    assert asyncio.run(request.form(max_files=1)) == "what was read"
