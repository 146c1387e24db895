"""What is chosen before a video is made: sample, size, frame, engine and the settings that it heeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Service
from tests.page.steps import choose, document, offers, shorten, until, watch_video

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores

ENGINES = {
    "auto": "lite",
    "engines": [
        {"name": "lite", "summary": "", "available": True, "missing": None, "remedy": None, "ignores": ["quality"]},
        {
            "name": "diffusion",
            "summary": "",
            "available": False,
            "missing": "a file",
            "remedy": "Read the README.",
            "ignores": [],
        },
    ],
}


def sent(page: Any) -> list[str]:
    """The forms that the page sends to start tasks, which are refused."""
    forms: list[str] = []

    def note(route: Any) -> None:
        forms.append((route.request.post_data_buffer or b"").decode("latin-1"))
        route.abort()

    page.route("**/start", note)
    return forms


def value(form: str, name: str) -> str | None:
    _, found, rest = form.partition(f'name="{name}"\r\n\r\n')
    return rest.partition("\r\n")[0] if found else None


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_the_first_screen_shows_what_to_do(
    visit: Callable[..., Any], real_service: Service, size: tuple[int, int], locale: str
) -> None:
    page = visit(real_service.url, viewport={"width": size[0], "height": size[1]}, locale=locale)
    for selector in ("#frame", "#image-label", "#samples", "#submit"):
        box = page.locator(selector).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1], (selector, box)
    if size[0] < 900:  # nothing lies under the button
        assert page.locator("#samples").bounding_box()["y"] + 64 <= page.locator(".go").bounding_box()["y"]


def test_the_empty_stage_plays_a_clip(visit: Callable[..., Any], real_service: Service, portrait: Path) -> None:
    page = visit(real_service.url)
    until(page, "clip.currentTime > 0.2")
    assert page.evaluate("clip.muted")
    page.click("#clip-pause")
    assert page.evaluate("clip.paused")
    page.click("#clip-pause")
    assert not page.evaluate("clip.paused")
    page.set_input_files("#image-file", portrait)
    page.locator("#picture:not([hidden])").wait_for()
    assert page.evaluate("clip.paused")


def test_the_clip_stands_still_where_no_motion_is_wanted(visit: Callable[..., Any], real_service: Service) -> None:
    asked: list[str] = []
    page = visit(
        real_service.url,
        reduced_motion="reduce",
        prepare=lambda page: page.on("request", lambda request: asked.append(request.url)),
    )
    page.wait_for_timeout(300)
    assert page.locator("#clip").is_visible() and page.locator("#clip-pause").is_hidden()
    assert not [url for url in asked if url.endswith("clip.mp4")]


def test_the_size_is_chosen(visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path) -> None:
    page = visit(real_service.url, refusals=True)
    forms = sent(page)
    choose(page, portrait, speech)
    page.get_by_text("Video size: 512 × 512").wait_for()
    assert page.locator("#size-standard").is_checked()
    page.click("#submit")
    page.click("label[for=size-hd]")
    page.get_by_text("Video size: 1024 × 1024").wait_for()
    page.click("#options summary")
    assert page.input_value("#option-min_resolution") == "1024"
    page.fill("#option-min_resolution", "700")
    assert page.locator("#sizes input:checked").count() == 0
    page.fill("#option-min_resolution", "256")
    assert page.locator("#size-draft").is_checked()
    page.click("#submit")
    page.click("#options-reset")
    assert page.locator("#size-standard").is_checked() and "recommended" in page.inner_text("#options-changed")
    assert [value(form, "min_resolution") for form in forms] == ["512", "256"]


def test_a_small_face_is_framed_unless_the_person_says_no(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    with Image.open(portrait) as image:
        wide = Image.new("RGB", (1600, 1200), "grey")
        wide.paste(image.resize((720, 720)), (500, 300))
        wide.save(tmp_path / "wide.jpg")
    page = visit(real_service.url, refusals=True)
    forms = sent(page)
    choose(page, tmp_path / "wide.jpg", speech)
    page.locator(".framing").wait_for()
    page.get_by_text("so the video shows this frame only").wait_for()
    page.locator("#overlay .crop").wait_for()
    until(page, "document.querySelector('.framing canvas').getContext('2d').getImageData(88, 88, 1, 1).data[3] === 255")
    assert "recommended" in page.inner_text("#options-changed")
    page.click("#submit")
    page.get_by_text("The server could not be reached.").wait_for()
    page.click("#framing")
    page.locator("#overlay .crop").wait_for(state="detached")
    page.get_by_text("would look better framed").wait_for()
    page.click("#submit")
    until(page, "true")
    page.get_by_text("The server could not be reached.").wait_for()
    assert [value(form, "crop") for form in forms] == ["true", "false"]
    page.set_input_files("#image-file", tmp_path / "wide.jpg")  # another picture: proposed anew
    page.locator("#overlay .crop").wait_for()
    with Image.open(portrait) as image:
        image.crop((80, 20, 290, 230)).save(tmp_path / "near.png")
    page.set_input_files("#image-file", tmp_path / "near.png")
    page.locator("#overlay .face-box").wait_for()
    until(page, "!document.querySelector('.framing, .crop')")


def test_only_what_the_engine_heeds_is_shown(visit: Callable[..., Any], real_service: Service) -> None:
    def prepare(page: Any) -> None:
        document(page, lambda schema: schema["paths"].setdefault("/api/v1/engines", {"get": {}}))
        page.route("**/api/v1/engines", lambda route: route.fulfill(json=ENGINES))

    page = visit(real_service.url, prepare=prepare)
    page.click("#options summary")
    page.locator("#option-quality-field").wait_for(state="hidden")
    assert page.locator("#option-inference_steps").is_visible()
    assert page.locator("#option-expand_ratio").is_hidden()
    page.check("#option-crop")
    assert page.locator("#option-expand_ratio").is_visible()
    choices = page.locator("#option-engine option")
    assert choices.all_inner_texts() == ["Automatic: lite", "diffusion (not installed)", "lite"]
    assert [choices.nth(i).is_disabled() for i in range(3)] == [False, True, False]
    assert "diffusion is not installed. How to get it: Read the README." in page.inner_text("#option-engine-help")
    assert page.locator("#option-quality option").all_text_contents() == ["Exact", "Balanced", "Fast, approximate"]


def test_a_value_that_is_not_shown_is_not_sent(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path
) -> None:
    page = visit(real_service.url, refusals=True)
    assert offers(real_service.url, "/api/v1/engines")
    forms = sent(page)
    choose(page, portrait, speech)
    page.click("#options summary")
    page.check("#option-crop")
    page.fill("#option-expand_ratio", "1.5")
    page.click("#submit")
    page.get_by_text("The server could not be reached.").wait_for()
    page.uncheck("#option-crop")
    page.click("#submit")
    until(page, "true")
    page.get_by_text("The server could not be reached.").wait_for()
    assert [value(form, "expand_ratio") for form in forms] == ["1.5", None]


def test_what_was_chosen_for_a_task_is_chosen_again(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("quick").url)
    choose(page, portrait, speech)
    page.click("label[for=size-draft]")
    shorten(page)
    page.click("#submit")
    watch_video(page)
    page.reload()
    page.click("#history .open")
    watch_video(page)
    page.click("#reuse")
    page.locator("#picture:not([hidden])").wait_for()
    assert page.locator("#size-draft").is_checked()
