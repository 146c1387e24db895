"""The service is put together, started and ended; or refuses to start, in one line."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api.app import announce, create_app
from api.settings import Settings, StartError
from api.storage.local import lock_data_folder
from api.tasks.store import TaskStore, sqlite_url
from tests.api.asgi import Answer, exchange, scope_of
from tests.api.made import accept
from tests.api.storage.test_local import names

ENGINE = """
echo '{"job": 0, "event": "ready"}'
read -r job && read -r cancel && echo '{"job": 1, "event": "cancelled"}'
cat > /dev/null
"""


def started(settings: Settings, scenario: Callable[[FastAPI], Awaitable[None]]) -> None:
    """Runs a service whose engine is ready at once and never ends a render."""

    async def whole() -> None:
        app = create_app(settings, command=lambda engine: ["sh", "-c", ENGINE])
        async with app.router.lifespan_context(app):
            await scenario(app)

    asyncio.run(whole())


async def get(app: FastAPI, path: str, method: str = "GET", **headers: str) -> Answer:
    return await exchange(
        app, scope_of(method, path, {name.replace("_", "-"): value for name, value in headers.items()})
    )


def test_a_service_from_start_to_end(settings: Settings) -> None:
    (settings.data_dir / "tasks" / "unknown").mkdir(parents=True)
    (settings.data_dir / "incoming" / "half").mkdir(parents=True)

    async def scenario(app: FastAPI) -> None:
        health = (await get(app, "/api/health")).json()
        assert (health["status"], health["engine"], health["slots"]) == ("healthy", "lite", 2)
        assert names(settings.data_dir / "tasks") == []
        assert names(settings.data_dir / "incoming") == []
        with pytest.raises(StartError, match="another server uses the data folder"):
            create_app(settings)
        async with asyncio.timeout(20):
            while not (await get(app, "/api/health")).json()["model_loaded"]:
                await asyncio.sleep(0.01)

    started(settings, scenario)
    lock_data_folder(settings.data_dir).close()


def test_what_an_earlier_run_left_is_taken_up(settings: Settings, files: Any) -> None:
    store = TaskStore(sqlite_url(settings.data_dir / "dice_talk.db"))
    accept(store, files, "a")
    store.close()

    async def scenario(app: FastAPI) -> None:
        async with asyncio.timeout(20):
            while (await get(app, "/api/v1/synthesis/a/status")).json()["status"] != "PROCESSING":
                await asyncio.sleep(0.01)

    started(settings.model_copy(update={"shutdown_seconds": 0.0}), scenario)
    store = TaskStore(sqlite_url(settings.data_dir / "dice_talk.db"))
    render = store.render("a")
    store.close()
    assert render
    assert (render.status, render.attempts, render.message) == (
        "PENDING",
        0,
        "Waiting in queue again after a restart",
    )


def test_every_answer_has_what_all_have(settings: Settings) -> None:
    """Whatever makes it: a route, the framework, a middleware."""

    async def scenario(app: FastAPI) -> None:
        answers = {
            200: await get(app, "/api/live"),
            404: await get(app, "/nowhere"),
            400: await get(app, "/api/live", host="other.example"),
            405: await get(app, "/api/live", "POST"),
            414: await get(app, "/" + "x" * 9000),
            307: await get(app, "/api/live/"),
        }
        for status, answer in answers.items():
            assert answer.status == status
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-request-id"]
            if status >= 400:
                assert set(json.loads(answer.body)) >= {"error"}
        assert answers[307].headers["location"] == "/api/live"
        head = await get(app, "/api/live", "HEAD")
        assert (head.status, head.body) == (200, b"")

    started(settings.model_copy(update={"allowed_hosts": "test"}), scenario)


def test_pages_of_other_sites_where_the_operator_lets_them_in(settings: Settings) -> None:
    async def scenario(app: FastAPI) -> None:
        page = await get(app, "/nowhere", origin="https://page.example")
        stranger = await get(app, "/nowhere", origin="https://evil.example")
        assert page.headers["access-control-allow-origin"] == "https://page.example"
        assert "access-control-allow-origin" not in stranger.headers
        assert "x-request-id" in page.headers["access-control-expose-headers"].lower()

    started(settings.model_copy(update={"cors_origins": "https://page.example"}), scenario)


def test_below_a_path_and_behind_a_proxy(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.http.request_log")

    async def scenario(app: FastAPI) -> None:
        for path in ("/talk/api/live", "/api/live"):
            assert (await get(app, path, x_forwarded_for="203.0.113.7")).status == 200
        clients = [
            record.__dict__["fields"]["client"] for record in caplog.records if record.name == "api.http.request_log"
        ]
        assert clients == ["203.0.113.7"] * 2

    started(settings.model_copy(update={"root_path": "/talk", "trusted_proxies": "192.0.2.1"}), scenario)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "diffusion"}, r"^Engine 'diffusion' is not available on this server\. Missing: "),
        (
            {"api_keys_file": Path("/no/keys")},
            r"/no/keys cannot be read: No such file or directory; python -m api\.keys",
        ),
        ({"database_url": "rubbish"}, "^wrong setting: database_url"),
        ({"webhook_secret": None, "data_dir": Path("/proc/y")}, "the data folder /proc/y cannot be used"),
    ],
)
def test_what_keeps_it_from_starting(settings: Settings, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words):
        create_app(settings.model_copy(update=changes))
    lock_data_folder(settings.data_dir).close()  # which it does not hold


def announced(caplog: pytest.LogCaptureFixture, **changes: Any) -> str:
    caplog.clear()
    caplog.set_level(logging.INFO)
    announce(Settings(**changes), "lite")
    return caplog.text


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", True),
        ("server.example", True),
        ("127.0.0.1", False),
        ("127.0.0.9", False),
        ("::1", False),
        ("localhost", False),
    ],
)
def test_an_open_door_is_warned_about(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, host: str, warned: bool
) -> None:
    assert (f"Anybody who reaches {host} may use this server" in announced(caplog, host=host)) == warned
    assert "Anybody who reaches" not in announced(caplog, host=host, api_keys_file=tmp_path / "keys")


def test_secrets_that_differ_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    several = {"database_url": "postgresql+psycopg://x/y", "storage_url": "s3://bucket/prefix"}
    assert "set webhook_secret" in announced(caplog, **several)
    for fine in ({}, {"database_url": "postgresql+psycopg://x/y"}, {**several, "webhook_secret": "whsec_" + "x" * 32}):
        assert "set webhook_secret" not in announced(caplog, **fine)


def test_where_it_is_and_how_to_use_it(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    said = announced(caplog, host="0.0.0.0", port=8123, root_path="/talk")
    assert "listens on 0.0.0.0, port 8123; engine: lite" in said
    assert "http://localhost:8123/talk/ (the API: http://localhost:8123/talk/docs)" in said
    assert "curl -X POST http://localhost:8123/talk/api/v1/synthesis/start -F image=" in said
    said = announced(caplog, host="192.0.2.1", api_keys_file=tmp_path / "keys")
    assert 'http://192.0.2.1:8000/api/v1/synthesis/start -H "Authorization: Bearer YOUR_KEY" -F' in said
