"""What goes wrong is said in words, beside what caused it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from api import keys
from api.settings import Settings
from tests.conftest import Service, running
from tests.page.steps import choose, document, offering, offers, shorten, until, watch_video
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores


def test_files_that_are_none(
    visit: Callable[..., Any], real_service: Service, bad_pictures: dict[str, Path], tmp_path: Path
) -> None:
    page = visit(real_service.url)
    page.set_input_files("#image-file", bad_pictures["text"])
    page.get_by_text("This picture can't be read.").wait_for()
    assert page.get_attribute("#image-file", "aria-invalid") == "true"
    (tmp_path / "speech.wav").write_text("not a recording")
    page.set_input_files("#audio-file", tmp_path / "speech.wav")
    page.get_by_text("This recording can't be read.").wait_for()
    page.click("#submit")
    assert "Add a portrait first." in page.inner_text("#portrait-error")
    assert page.evaluate("document.activeElement.id") == "image-file"


def test_a_picture_that_the_server_refuses(
    visit: Callable[..., Any], real_service: Service, bad_pictures: dict[str, Path], speech: Path
) -> None:
    page = visit(real_service.url, refusals=True)
    choose(page, bad_pictures["small"], speech)
    page.click("#submit")
    page.get_by_text("The image is too small: 32 x 32.").wait_for()
    assert page.locator("#portrait-error").is_visible()


def test_a_picture_with_nobody_in_it(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("refuses").url, refusals=True)
    choose(page, portrait, speech)
    page.click("#submit")
    page.get_by_role("heading", name="The video could not be made").wait_for()
    assert page.inner_text("#failed-words") == "No face was found. Send a clear portrait."
    page.click("#failed-back")
    assert page.inner_text("#portrait-error") == "No face was found. Send a clear portrait."


def test_a_preflight_that_ends_late_does_not_take_back_what_the_task_has_said(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("refuses").url, refusals=True)
    late: list[Any] = []
    page.route("**/api/v1/preflight", lambda route: late.append(route))
    choose(page, portrait, speech)
    page.locator("#portrait-findings .busy").wait_for()
    page.click("#submit")
    page.get_by_role("heading", name="The video could not be made").wait_for()
    page.click("#failed-back")
    assert late
    page.unroute("**/api/v1/preflight")  # which lets go of what is held
    page.locator("#portrait-findings .busy").wait_for(state="detached")
    assert page.inner_text("#portrait-error") == "No face was found. Send a clear portrait."


def test_a_task_that_failed_before_there_were_codes(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    data = tmp_path / "old"
    with running(Settings(data_dir=data, log_dir=tmp_path / "logs"), "refuses", tmp_path / "gate") as before:
        task_id = before.submit(portrait, speech)
        before.wait(task_id)
    with closing(sqlite3.connect(data / "dice_talk.db")) as database, database:  # as the migration leaves it
        database.execute("UPDATE renders SET error_code = 'render_failed', error_params = NULL")
    entry = {"id": task_id, "emotion": "happy", "title": "me.jpg", "status": "FAILED", "at": 0}
    code = f"localStorage.setItem('dice-talk.history', JSON.stringify([{json.dumps(entry)}]))"
    page = visit(serve("quick", data_dir=data).url, locale="zh-CN", prepare=lambda page: page.add_init_script(code))
    page.click("#history .open")
    page.get_by_role("heading", name="生成失败").wait_for()
    detail = page.locator("#failed-words .original")
    assert detail.inner_text() == "No face was found. Send a clear portrait."
    assert detail.get_attribute("lang") == "en"
    detail.evaluate("detail => detail.remove()")
    assert page.inner_text("#failed-words") == "无法生成视频。"


def test_a_wrong_file_in_chinese(
    visit: Callable[..., Any], real_service: Service, portrait: Path, tmp_path: Path
) -> None:
    page = visit(real_service.url, refusals=True, locale="zh-CN")
    flac = tmp_path / "speech.mp3"  # its tag makes the page take it for an MP3
    flac.write_bytes(b"ID3\4" + bytes(6) + b"fLaC" + bytes(600))
    choose(page, portrait, flac)
    page.click("#submit")
    page.get_by_text("文件实际是：FLAC 文件。").wait_for()
    assert page.inner_text("#speech-error") == (
        "录音格式不受支持，请使用 WAV 或 MP3。文件实际是：FLAC 文件。请转换为 WAV 或 MP3。"
        "转换命令：ffmpeg -i recording.flac recording.wav"
    )


def test_options_out_of_their_bounds(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    page = visit(real_service.url, refusals=True, prepare=lambda page: document(page, unbound))
    choose(page, portrait, speech)
    page.click("#options summary")
    page.fill("#option-seed", "-1")
    page.click("#submit")
    assert page.inner_text("#option-seed-error") == "0 to 2147483647"
    assert page.evaluate("document.activeElement.id") == "option-seed"
    page.fill("#option-seed", "")
    page.fill("#option-fps", "500")  # the page was told wrong bounds, the server knows better
    page.click("#submit")
    page.get_by_text("fps must be between 8 and 60, got 500").wait_for()
    assert page.locator("#option-fps-error").is_visible()
    assert page.evaluate("document.activeElement.id") == "option-fps"


def unbound(schema: dict[str, Any]) -> None:
    schema["components"]["schemas"]["RenderForm"]["properties"]["fps"]["maximum"] = 1000


def test_a_lost_connection_loses_nothing(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    page = visit(real_service.url, refusals=True)
    sent: list[str] = []

    def cut(route: Any) -> None:
        sent.append(route.request.headers["idempotency-key"])
        if len(sent) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/start", cut)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    page.get_by_text("The server could not be reached.").wait_for()
    page.click("#submit")
    watch_video(page)
    assert sent[0] == sent[1]


def test_what_could_not_be_removed_stays(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    service = serve("quick")
    page = visit(service.url, refusals=True)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    page.route("**/synthesis/*", lambda route: route.abort())
    page.click("#history .remove")
    page.get_by_text("It could not be removed. The server could not be reached.").wait_for()
    assert page.locator("#history .open").count() == 1
    page.unroute("**/synthesis/*")
    page.click("#history .remove")
    page.locator("#history").wait_for(state="hidden")
    until(page, "!document.querySelector('#history li')")
    wait_for(lambda: requests.get(f"{service.url}/api/v1/synthesis", timeout=10).json()["tasks"] == [])


def test_cancel(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated")
    path = "/api/v1/synthesis/{task_id}/cancel"
    real = offers(service.url, path)
    page = visit(service.url, prepare=lambda page: None if real else offering(page, path, "post"))
    if not real:
        page.route("**/cancel", answer_cancel)
    choose(page, portrait, speech)
    page.click("#submit")
    page.get_by_text("Drawing the frames").first.wait_for()
    page.click("#cancel")
    page.get_by_role("heading", name="Cancelled").wait_for()
    page.locator("#history li[data-status=CANCELLED]").wait_for()
    page.click("#failed-back")
    assert page.locator("#picture").is_visible()
    (tmp_path / "gate").touch()


def answer_cancel(route: Any) -> None:
    address = route.request.url.removesuffix("/cancel") + "/status"
    state = route.fetch(url=address, method="GET").json()
    route.fulfill(json={**state, "status": "FAILED", "message": "Cancelled", "cancelled": True})


def test_what_the_server_no_longer_has(visit: Callable[..., Any], real_service: Service) -> None:
    gone = "00000000-0000-4000-8000-000000000000"
    entry = {"id": gone, "emotion": "happy", "title": "me.jpg", "status": "COMPLETED", "at": 0}
    code = f"localStorage.setItem('dice-talk.history', JSON.stringify([{json.dumps(entry)}]))"
    page = visit(real_service.url, refusals=True, prepare=lambda page: page.add_init_script(code))
    page.locator("#history li[data-status=GONE]").wait_for()
    assert "expired" in page.inner_text("#history li")
    assert page.locator("#history .open").is_disabled()


def test_a_key_is_asked_for_and_kept_as_chosen(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    key = keys.add(file, "alice")
    service = serve("quick", api_keys_file=file)
    page = visit(service.url, refusals=True)
    dialog = page.locator("#key-dialog")
    dialog.wait_for()
    page.fill("#key", "dtk_wrong")
    page.keyboard.press("Enter")
    choose(page, portrait, speech)
    shorten(page)
    if not dialog.is_visible():  # with a preflight, the wrong key is noticed earlier
        page.click("#submit")
    dialog.wait_for()
    assert page.inner_text("#key-error")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.click("#submit")
    assert watch_video(page) > 0.4
    assert page.evaluate("video.currentSrc").startswith("blob:")
    stored = "[sessionStorage, localStorage].map((store) => store.getItem('dice-talk.key'))"
    assert page.evaluate(stored) == [key, None]
    page.click("#key-button")
    page.check("#key-remember")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    until(page, "localStorage.getItem('dice-talk.key')")
    assert page.evaluate(stored) == [None, key]
