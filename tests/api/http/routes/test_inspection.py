"""Routes that inspect files, without a server; what they find is tested with the modules behind them."""

import asyncio
from pathlib import Path

from api import processes
from api.http.routes.inspection import VideoRoute
from api.settings import Settings
from tests.api.asgi import Answer, call, exchange, scope_of
from tests.api.parts import Parts
from tests.forms import END, HEADERS, part

TASKS = "/api/v1/synthesis"


def post(parts: Parts, path: str, **form: bytes) -> Answer:
    async def scenario() -> Answer:
        body = b"".join(part(name, data, name) for name, data in form.items())
        answer = await exchange(parts.app, scope_of("POST", f"/api/v1/{path}", HEADERS), [body + END])
        await parts.children.close()
        await processes.wait_for_starts()
        return answer

    return asyncio.run(scenario())


def test_preflight_of_a_recording(parts: Parts, speech: Path) -> None:
    found = post(parts, "preflight", audio=speech.read_bytes()).json()
    assert (found["image"], found["engine"], found["eta_seconds"]) == (None, "lite", None)
    assert (found["audio"]["seconds"], found["warnings"]) == (8.25, [])
    assert parts.store.render_ids() == set()


def test_preflight_of_nothing(parts: Parts) -> None:
    answer = post(parts, "preflight")
    assert (answer.status, answer.json()["error"]) == (400, "Neither image nor audio was sent")


def test_verify_takes_a_video_and_nothing_else(parts: Parts, settings: Settings) -> None:
    assert VideoRoute.limits(settings) == {"video": 500 * 2**20}
    missing = post(parts, "verify")
    assert (missing.status, missing.json()["error"]) == (422, "video is required")
    other = post(parts, "verify", video=b"x", image=b"x")
    assert other.status == 422
    wrong = post(parts, "verify", video=b"no video")
    assert (wrong.status, wrong.json()["error"]) == (400, "The file is not an MP4 video")
    assert list((settings.data_dir / "incoming").iterdir()) == []


def test_a_poster_that_was_made_before(parts: Parts) -> None:
    parts.wait("a")
    early = call(parts.app, "GET", f"{TASKS}/a/poster")
    assert (early.status, early.json()["error"]) == (400, "Task not completed yet")
    parts.finish("a")
    parts.files.keep("a", "poster", b"a picture")
    answer = call(parts.app, "GET", f"{TASKS}/a/poster")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"a picture", "image/jpeg")
    assert call(parts.app, "GET", f"{TASKS}/b/poster").status == 404


def test_a_receipt_of_what_is_not_there_or_not_finished(parts: Parts) -> None:
    parts.wait("a")
    assert [call(parts.app, "GET", f"{TASKS}/{name}/receipt").status for name in "ab"] == [400, 404]
