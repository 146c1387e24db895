"""Routes of the API document, without a server; over HTTP they are in tests/features/test_documented_api.py."""

import asyncio
from pathlib import Path
from typing import Any

from api import processes
from tests.api.asgi import Answer, call, exchange, scope_of
from tests.api.made import make_task
from tests.api.parts import Parts
from tests.forms import END, HEADERS, part

TASKS = "/api/v1/synthesis"


def start(parts: Parts, *forms: dict[str, bytes], **headers: str) -> list[Answer]:
    """The answers to forms that are sent one after the other."""

    async def scenario() -> list[Answer]:
        answers = []
        for form in forms:
            body = b"".join(
                part(name, data, name if name in ("image", "audio") else None) for name, data in form.items()
            )
            scope = scope_of("POST", f"{TASKS}/start", HEADERS | headers)
            answers.append(await exchange(parts.app, scope, [body + END]))
        await parts.children.close()
        await processes.wait_for_starts()
        return answers

    return asyncio.run(scenario())


def test_a_form_starts_a_task(parts: Parts, portrait: Path, speech: Path) -> None:
    form = {"image": portrait.read_bytes(), "audio": speech.read_bytes(), "emotion": b"happy", "seed": b"5"}
    first, again, other = start(parts, form, form, form | {"fps": b"25"}, **{"idempotency-key": "order 17"})
    assert first.status == 200
    assert first.json() | {"task_id": "x"} == {
        "task_id": "x",
        "status": "PENDING",
        "message": "Task created successfully",
        "warnings": [],
    }
    assert again.json()["task_id"] == first.json()["task_id"]
    assert (other.status, other.json()["error"]) == (409, "The Idempotency-Key was used for another request")


def test_options_beside_a_preset_win(parts: Parts, portrait: Path, speech: Path) -> None:
    """Fields that a browser leaves empty are not given. A preset is only another way to write options."""
    form = {"image": portrait.read_bytes(), "audio": speech.read_bytes(), "emotion": b"happy"}
    beside = {"preset": b"published", "fps": b"30", "seed": b"", "quality": b"fast"}
    written = {"fps": b"30", "seed": b"72589", "quality": b"fast", "min_resolution": b"512", "inference_steps": b"25"}
    plain, empty = {"seed": b"1"}, {"seed": b"1", "preset": b""}
    forms = [form | more for more in (beside, written, plain, empty, {"preset": b"best"})]
    *answers, wrong = start(parts, *forms)
    assert {answer.status for answer in answers} == {200}
    first, second, third, fourth = (parts.task(answer.json()["task_id"]).render for answer in answers)
    assert first.id == second.id and third.id == fourth.id, "the same request, so rendered once"
    options = first.options
    assert (options.min_resolution, options.inference_steps, options.seed, options.fps) == (512, 25, 72589, 30)
    assert options.quality == "fast" and third.options.min_resolution == 256
    assert (wrong.status, wrong.json()["error"]) == (422, "preset is not one of the known values")


def test_an_idempotency_key_from_before_presets_still_fits(parts: Parts, portrait: Path, speech: Path) -> None:
    form = {"image": portrait.read_bytes(), "audio": speech.read_bytes(), "emotion": b"happy"}
    values = {"min_resolution": b"512", "inference_steps": b"25", "fps": b"25", "seed": b"72589"}
    with_preset, without = start(parts, form | {"preset": b"published"}, form | values, **{"idempotency-key": "1"})
    assert with_preset.json()["task_id"] == without.json()["task_id"]


def test_options_that_are_refused(parts: Parts, portrait: Path, speech: Path) -> None:
    form = {"image": portrait.read_bytes(), "audio": speech.read_bytes(), "emotion": b"happy"}
    cases = {
        b"fps=100": (400, "fps must be between 8 and 60, got 100"),
        b"emotion=bored": (422, "emotion is not one of the known values"),
        b"engine=diffusion": (400, "Engine 'diffusion' is not available on this server"),
        b"callback_url=http://10.0.0.1/": (400, "callback_url points to an address that is not allowed"),
        b"seed=1e3": (422, "seed must be a whole number"),
    }
    forms = [form | {option.partition(b"=")[0].decode(): option.partition(b"=")[2]} for option in cases]
    found = [(answer.status, answer.json()["error"]) for answer in start(parts, *forms)]
    assert found == list(cases.values())
    assert parts.store.render_ids() == set()


def test_a_strange_idempotency_key(parts: Parts) -> None:
    for key in (" x", "é", "x" * 256):
        (answer,) = start(parts, {"emotion": b"sad"}, **{"idempotency-key": key})
        assert answer.status == 422, key


def test_a_status(parts: Parts) -> None:
    parts.wait("a")
    answer = call(parts.app, "GET", f"{TASKS}/a/status")
    assert answer.status == 200
    state = answer.json()
    assert (state["task_id"], state["status"], state["created_at"]) == ("a", "PENDING", "2030-01-01T12:00:00")
    unknown = call(parts.app, "GET", f"{TASKS}/b/status")
    assert (unknown.status, unknown.json()["error"]) == (404, "Task not found")


def test_a_download(parts: Parts) -> None:
    parts.wait("a")
    early = call(parts.app, "GET", f"{TASKS}/a/download")
    assert (early.status, early.json()["error"]) == (400, "Task not completed yet")
    parts.finish("a")
    whole = call(parts.app, "GET", f"{TASKS}/a/download")
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, b"0123456789", "video/mp4")
    assert whole.headers["content-disposition"] == 'attachment; filename="result.mp4"'
    assert whole.headers["last-modified"] == "Tue, 01 Jan 2030 12:00:00 GMT"
    cases: list[tuple[dict[str, str], int, bytes]] = [
        ({"range": "bytes=2-3"}, 206, b"23"),
        ({"if-none-match": whole.headers["etag"]}, 304, b""),
    ]
    for headers, status, body in cases:
        answer = call(parts.app, "GET", f"{TASKS}/a/download", headers)
        assert (answer.status, answer.body) == (status, body)
    assert call(parts.app, "GET", f"{TASKS}/a/download", {"if-match": '"x"'}).status == 412


def test_tasks_that_share_a_video_have_tags_of_their_own(parts: Parts) -> None:
    parts.wait("a")
    parts.finish("a")
    parts.store.join(make_task("b", render=parts.task("a").render))
    answers = [call(parts.app, "GET", f"{TASKS}/{name}/download") for name in "ab"]
    assert answers[0].body == answers[1].body
    assert answers[0].headers["etag"] != answers[1].headers["etag"]


def test_a_video_that_went_meanwhile(parts: Parts) -> None:
    parts.wait("a")
    parts.finish("a")
    parts.files.drop_video("a")
    answer = call(parts.app, "GET", f"{TASKS}/a/download")
    assert (answer.status, answer.json()["error"]) == (404, "Task not found")


def test_the_document_names_the_callback(parts: Parts) -> None:
    document: Any = parts.app.openapi()
    (callback,) = document["webhooks"].values()
    assert callback["post"]["summary"] == "What is sent to callback_url"
    names = {parameter["name"] for parameter in callback["post"]["parameters"]}
    assert names == {"webhook-id", "webhook-timestamp", "webhook-signature"}
