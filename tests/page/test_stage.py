"""The stage: pictures and videos of any shape fit, its areas open the chooser, and what is said stands once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Service
from tests.page.steps import choose, shorten, until, watch_video

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores

SHAPES = {"9:16": (288, 512), "3:4": (384, 512), "1:1": (512, 512), "16:9": (640, 360)}
SIZES = [(1280, 800), (390, 844)]


@pytest.fixture(scope="module")
def shaped(portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The example portrait, cut to each shape."""
    folder = tmp_path_factory.mktemp("shapes")
    files = {}
    with Image.open(portrait) as image:
        for name, (width, height) in SHAPES.items():
            share = min(image.width / width, image.height / height)
            wide, high = width * share, height * share
            left = min(max(0, 186 - wide / 2), image.width - wide)  # the face is centred at 186, 118
            top = min(max(0, 150 - high / 2), image.height - high)
            file = folder / f"{width}x{height}.jpg"
            image.crop((round(left), round(top), round(left + wide), round(top + high))).save(file)
            files[name] = file
    return files


def within(page: Any, inner: str) -> None:
    box, frame = page.locator(inner).bounding_box(), page.locator("#frame").bounding_box()
    assert box["x"] >= frame["x"] - 0.5 and box["x"] + box["width"] <= frame["x"] + frame["width"] + 0.5, (box, frame)
    assert box["y"] >= frame["y"] - 0.5 and box["y"] + box["height"] <= frame["y"] + frame["height"] + 0.5, (box, frame)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_and_videos_of_any_shape_fit(
    visit: Callable[..., Any], real_service: Service, shaped: dict[str, Path], speech: Path, size: tuple[int, int]
) -> None:
    page = visit(real_service.url, viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    page.set_input_files("#audio-file", speech)
    shorten(page, 0.2)
    page.fill("#option-min_resolution", "128")
    for shape, file in shaped.items():
        page.set_input_files("#image-file", file)
        page.locator("#picture:not([hidden]) .face-box").wait_for()
        within(page, "#picture")
        picture = page.locator("#picture").bounding_box()
        width, height = SHAPES[shape]
        assert picture["width"] / picture["height"] == pytest.approx(width / height, rel=0.02)
        page.click("#submit")
        watch_video(page)
        within(page, "#video")
        page.click("[data-view=portrait]")
        page.click("#image-remove")


@pytest.mark.parametrize("touch", [False, True])
def test_empty_areas_open_the_chooser(
    visit: Callable[..., Any], real_service: Service, portrait: Path, speech: Path, touch: bool
) -> None:
    size = {"width": 390, "height": 844} if touch else {"width": 1280, "height": 900}
    page = visit(real_service.url, viewport=size, has_touch=touch)
    for area, file in (("#empty .hint", portrait), ("#speech-empty", speech)):
        with page.expect_file_chooser() as chooser:
            page.tap(area) if touch else page.click(area)
        chooser.value.set_files(file)
    page.locator("#picture:not([hidden])").wait_for()
    page.locator("#speech-loaded:not([hidden])").wait_for()


def test_the_heading_says_what_is_shown(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("quick").url)
    choose(page, portrait, speech)
    assert page.inner_text("#portrait-title").split() == ["1", "Portrait"]
    shorten(page)
    page.click("#submit")
    watch_video(page)
    assert page.inner_text("#portrait-title") == "Video"
    page.click("[data-view=portrait]")
    assert page.inner_text("#portrait-title").split() == ["1", "Portrait"]


def test_a_picture_without_a_face_is_said_once_and_not_sent(
    visit: Callable[..., Any], real_service: Service, speech: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 300), "steelblue").save(tmp_path / "sky.png")
    page = visit(real_service.url)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/start") else None)
    choose(page, tmp_path / "sky.png", speech)
    page.locator("#portrait-findings .error").wait_for()
    assert page.locator("#portrait-findings > *").count() == 1
    assert page.get_attribute("#submit", "aria-disabled") == "true"
    assert "No video can be made of this picture" in page.inner_text("#submit-note")
    page.click("#submit", force=True)
    page.wait_for_timeout(300)
    assert (sent, page.evaluate("document.activeElement.id")) == ([], "image-file")
    page.click("#image-remove")
    assert page.get_attribute("#submit", "aria-disabled") == "false"


def test_an_error_does_not_stand_above_findings_of_another_picture(
    visit: Callable[..., Any], real_service: Service, portrait: Path, bad_pictures: dict[str, Path]
) -> None:
    page = visit(real_service.url)
    page.set_input_files("#image-file", portrait)
    page.get_by_text("Face found").wait_for()
    page.set_input_files("#image-file", bad_pictures["text"])
    words = "“text.png” can't be read. Use a JPEG or PNG. The picture before is still chosen."
    page.get_by_text(words).wait_for()
    assert page.get_by_text("Face found").is_hidden()
    page.set_input_files("#image-file", portrait)
    page.get_by_text("Face found").wait_for()
    assert page.locator("#portrait-error").is_hidden()


def test_forecasts_are_round_and_in_words(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url)

    def said(low: float, high: float) -> str:
        call = "([low, high]) => import('/web/texts.js').then((m) => m.durationRange({ low, high }))"
        return str(page.evaluate(call, [low, high]))

    assert [said(8, 12), said(2, 4), said(0.1, 0.4), said(100, 150)] == [
        "about 10 s",
        "about 3 s",
        "about 1 s",
        "about 2 min",
    ]
    assert said(9, 300) == "a few minutes"
    assert [said(2, 14), said(5, 50), said(60, 4000)] == ["a few seconds", "less than a minute", "up to 1 h"]
    page.click("#language")
    assert [said(8, 12), said(9, 300)] == ["约 10 秒", "几分钟"]


def test_a_reload_keeps_what_was_chosen(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    page = visit(serve("gated").url)
    choose(page, portrait, speech)
    shorten(page)
    page.click("label[for=emotion-sad]")
    page.click("#submit")
    page.get_by_text("Drawing the frames").first.wait_for()
    page.reload()
    page.get_by_text("Drawing the frames").first.wait_for()
    page.locator("#speech-loaded:not([hidden])").wait_for()
    page.click("#cancel")
    page.get_by_text("Your portrait and speech are still here.").wait_for()
    page.click("#failed-back")
    assert page.locator("#picture").is_visible() and page.locator("#emotion-sad").is_checked()
    assert page.input_value("#option-duration") == "0.5"
    uploads: list[str] = []
    page.on("request", lambda request: uploads.append(request.url) if request.url.endswith("/start") else None)
    (tmp_path / "gate").touch()
    page.click("#submit")  # with the files that the server has
    watch_video(page)
    assert uploads == []


def test_portrait_and_speech_are_used_again_from_the_history(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("quick").url)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    page.reload()
    page.click("#history .open")
    watch_video(page)
    page.click("#reuse")
    page.locator("#picture:not([hidden])").wait_for()
    page.locator("#speech-loaded:not([hidden])").wait_for()
    page.click("[data-view=task]")
    assert page.locator("#reuse").is_hidden()
    page.click("#history .remove")
    stored = """new Promise((done) => {
        const request = indexedDB.open("dice-talk");
        request.onsuccess = () => {
            const all = request.result.transaction("files").objectStore("files").getAllKeys();
            all.onsuccess = () => (request.result.close(), done(all.result.length));
        };
    })"""
    assert page.evaluate(stored) == 1
    page.locator("#history").wait_for(state="hidden", timeout=30_000)
    until(page, f"{stored}.then((count) => count === 0)")


def test_a_video_is_listed_with_its_own_picture_and_its_removal_undone(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("quick").url, refusals=True)
    choose(page, portrait, speech)
    page.get_by_text("Face found").wait_for()
    before = page.evaluate("import('/web/portrait.js').then((m) => m.portrait.thumbnail)")
    shorten(page)
    page.click("#submit")
    watch_video(page)
    until(page, f"document.querySelector('#history img').src !== {before!r}")
    removals: list[str] = []
    page.on("request", lambda request: removals.append(request.url) if request.method == "DELETE" else None)
    page.click("#history .remove")
    assert page.evaluate("document.activeElement.textContent") == "Undo"
    page.keyboard.press("Enter")
    page.locator("#history .open").wait_for()
    page.wait_for_timeout(200)
    assert removals == []
    page.click("#history .remove")
    page.reload()  # leaving the page removes it at once
    page.locator("#history").wait_for(state="hidden")
    until(page, "localStorage.getItem('dice-talk.history') === '[]'")
