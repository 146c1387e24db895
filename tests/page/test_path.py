"""From two files to a video, in all the ways there are."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from dice_talk.video import probe
from tests.conftest import Service
from tests.page.steps import (
    an_engine_with_steps,
    choose,
    offers,
    only_documented_calls,
    shorten,
    tab_to,
    until,
    watch_video,
)

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores


def test_the_whole_path(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    page = visit(real_service.url)
    choose(page, portrait, speech)
    shorten(page, 2)
    page.click("label[for=emotion-surprised]")
    page.click("#submit")
    assert watch_video(page) == pytest.approx(2, abs=0.1)
    until(page, "video.currentTime > 0.2")
    assert not page.evaluate("video.muted || video.paused")
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "video.mp4")
    info = probe(tmp_path / "video.mp4")
    assert (info.frames, '"emotion": "surprised"' in info.metadata["comment"]) == (48, True)

    first = page.evaluate("video.currentSrc")
    uploads: list[str] = []
    page.on("request", lambda request: uploads.append(request.url) if request.url.endswith("/start") else None)
    page.click('#again-faces [data-emotion="sad"]')
    until(page, f"video.currentSrc && video.currentSrc !== '{first}' && !video.hidden")
    assert watch_video(page) == pytest.approx(2, abs=0.1)
    if offers(real_service.url, "/api/v1/synthesis/{task_id}/retry"):
        assert uploads == []
    assert page.locator("#emotion-sad").is_checked()

    page.reload()
    page.locator("#history li").nth(1).wait_for()
    assert page.locator("#history li").count() == 2
    page.click('#history li[data-emotion="surprised"] .open')
    assert watch_video(page) == pytest.approx(2, abs=0.1)
    assert page.evaluate("video.currentSrc") == first
    page.click('#history li[data-emotion="sad"] .remove')
    assert page.locator("#history li:not(.removed)").count() == 1


def test_a_receipt_is_asked_for_by_who_looks_at_the_details(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    asked: list[str] = []

    def answer(route: Any) -> None:
        receipt = route.fetch().json()
        asked.append(route.request.url)
        measured = {"lip_lag_frames": 1, "identity_similarity": 0.93} if len(asked) > 1 else None
        route.fulfill(json={**receipt, "measured": measured})

    page = visit(serve("quick").url, prepare=lambda page: page.route("**/receipt", answer))
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    assert asked == []
    page.click("#details summary")
    page.get_by_text("being measured…").wait_for()
    page.get_by_text("lips 42 ms late").wait_for()
    assert page.locator("#facts").get_by_text("0.93").is_visible()
    assert len(asked) == 2


def test_by_keyboard_alone(visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path) -> None:
    # Playwright begins to catch choosers some time after it is first asked to: early enough for the first key.
    page = visit(real_service.url, prepare=lambda page: page.on("filechooser", lambda chooser: None))
    for field, file in (("#image-file", portrait), ("#audio-file", speech)):
        tab_to(page, field)
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(file)
        page.locator("#picture:not([hidden])" if file == portrait else "#speech-loaded:not([hidden])").wait_for()
    tab_to(page, "input[name=emotion]")
    page.keyboard.press("ArrowRight")
    assert page.locator("#emotion-surprised").is_checked()
    tab_to(page, "summary")
    page.keyboard.press("Enter")
    tab_to(page, "#option-duration")
    page.keyboard.type("0.5")
    tab_to(page, "#submit")
    page.keyboard.press("Enter")
    assert 0.4 < watch_video(page) < 0.7
    page.keyboard.press("Shift+Tab")
    tab_to(page, "#again-faces button")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_a_server_with_the_documented_calls_alone(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    asked: list[str] = []

    def prepare(page: Any) -> None:
        only_documented_calls(page)
        page.on("request", lambda request: asked.append(request.url))

    page = visit(real_service.url, prepare=prepare)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    page.click('#again-faces [data-emotion="angry"]')  # sends the files once more: they are still here
    until(page, "document.querySelectorAll('#history li[data-status=COMPLETED]').length === 2")
    names = ("events", "cancel", "retry", "poster", "receipt", "preflight")
    assert not [url for url in asked if url.rsplit("/", 1)[-1] in names]


def test_camera_and_microphone(visit: Callable[..., Any], real_service: Service, tmp_path: Path) -> None:
    page = visit(real_service.url)
    page.click("#camera")
    until(page, "document.querySelector('#camera-dialog video').videoWidth > 0")
    page.click("#camera-dialog .primary")
    page.locator("#picture:not([hidden])").wait_for()
    page.click("#record")
    page.locator("#speech-recording:not([hidden])").wait_for()
    page.wait_for_timeout(1500)
    page.click("#record")
    page.locator("#speech-loaded:not([hidden])").wait_for()
    code = "import('/web/speech.js').then(m => m.speech.file.arrayBuffer()).then(b => [...new Uint8Array(b)])"
    (tmp_path / "speech.wav").write_bytes(bytes(page.evaluate(code)))
    with wave.open(str(tmp_path / "speech.wav")) as recorded:
        assert (recorded.getsampwidth(), recorded.getnchannels()) == (2, 1)
        assert recorded.getnframes() / recorded.getframerate() > 1


def test_the_sample_is_one_click_away(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url)
    page.click("[data-sample='mei.jpg']")
    page.locator("#speech-loaded:not([hidden])").wait_for()
    assert page.get_attribute("[data-sample='mei.jpg']", "aria-pressed") == "true"
    page.click("[data-sample='rms.mp3']")
    page.get_by_text("rms.mp3").wait_for()
    shorten(page)
    page.click("#submit")
    watch_video(page)


def test_drop_and_paste(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url)
    page.evaluate("""async () => {
        const data = new DataTransfer();
        for (const [name, type] of [["mei.jpg", "image/jpeg"], ["heart.wav", "audio/wav"]]) {
            const blob = await (await fetch("web/sample/" + name)).blob();
            data.items.add(new File([blob], name, { type }));
        }
        document.querySelector("#frame").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }""")
    page.locator("#picture:not([hidden])").wait_for()
    page.locator("#speech-loaded:not([hidden])").wait_for()
    page.click("#image-remove")
    page.locator("#empty:not([hidden])").wait_for()
    page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 200, height: 300 });
        canvas.getContext("2d").fillRect(0, 0, 200, 300);
        const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/webp"));
        const data = new DataTransfer();
        data.items.add(new File([blob], "pasted.webp", { type: "image/webp" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    }""")
    page.locator("#picture:not([hidden])").wait_for()
    # What the API does not take was made into what it does.
    assert page.evaluate("import('/web/portrait.js').then(m => m.portrait.file.type)") == "image/jpeg"


def test_a_task_in_work_is_followed_after_a_reload(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated")
    page = visit(service.url)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    page.get_by_text("Drawing the frames").first.wait_for()
    page.reload()
    page.get_by_text("Drawing the frames").first.wait_for()
    (tmp_path / "gate").touch()
    assert watch_video(page) > 0.4


def test_presets_fill_in_the_fields(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    service = serve("quick")
    page = visit(service.url, prepare=an_engine_with_steps)
    pressed = page.locator('#preset-choices [aria-pressed="true"]')
    assert pressed.inner_text() == "Standard"
    page.click('#preset-choices [data-preset="published"]')
    assert pressed.inner_text() == "As published"
    page.locator("#options").evaluate("details => details.open = true")
    values = {
        name: page.input_value(f"#option-{name}") for name in ("min_resolution", "inference_steps", "fps", "seed")
    }
    assert values == {"min_resolution": "512", "inference_steps": "25", "fps": "25", "seed": "72589"}
    page.fill("#option-fps", "30")
    assert pressed.count() == 0 and page.get_by_text("Your own settings.").is_visible()
    page.click('#preset-choices [data-preset="draft"]')
    assert page.input_value("#option-seed") == "" and page.input_value("#option-quality") == "fast"
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    calls = f"{service.url}/api/v1/synthesis"
    (made,) = requests.get(calls, timeout=30).json()["tasks"]
    options = requests.get(f"{calls}/{made['task_id']}/receipt", timeout=60).json()["options"]
    assert (options["inference_steps"], options["quality"], options["fps"]) == (10, "fast", 24)


def test_previews_are_shown(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    page = visit(serve("shows").url)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    page.locator('#running-image.preview[src^="data:image/jpeg"]').wait_for()
    until(page, "document.getElementById('running-image').naturalWidth === 16")
    (tmp_path / "gate").touch()
    watch_video(page)
