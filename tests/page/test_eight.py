"""All emotions by one click: a grid that plays in step, each to be opened and downloaded, or all as a ZIP."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from dice_talk.emotions import Emotion
from dice_talk.video import probe
from tests.conftest import Service
from tests.page.steps import choose, only_documented_calls, scrolls_sideways, shorten, until, watch_video

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores

READY = "document.querySelectorAll('#eight-grid video:not([hidden])').length === 8"


def test_all_emotions(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("quick")
    page = visit(service.url)
    uploads: list[str] = []
    page.on("request", lambda request: uploads.append(request.url) if request.url.endswith("/start") else None)
    page.click("#all-eight")
    assert "Add a portrait first." in page.inner_text("#portrait-error")
    choose(page, portrait, speech)
    shorten(page, 3)
    page.click("#all-eight")
    page.locator("#eight").wait_for()
    until(page, READY)
    assert len(uploads) == 1
    names = page.eval_on_selector_all("#eight-grid li", "items => items.map((item) => item.dataset.emotion)")
    assert names == [str(emotion) for emotion in Emotion]
    page.locator("#eight-zip").wait_for()
    if page.inner_text("#eight-play") == "Pause all":
        page.click("#eight-play")
    page.evaluate("document.querySelectorAll('#eight-grid video').forEach((video) => (video.currentTime = 0))")
    page.click("#eight-play")
    until(page, "document.querySelector('#eight-grid video').currentTime > 1")
    times = page.eval_on_selector_all("#eight-grid video", "videos => videos.map((video) => video.currentTime)")
    assert max(times) - min(times) < 0.5
    heard = page.eval_on_selector_all("#eight-grid video", "videos => videos.filter((video) => !video.muted).length")
    assert heard == 1
    seeds = {service.status(task)["seed"] for task in ids(page)}
    assert len(seeds) == 1
    with page.expect_download() as download:
        page.click("#eight-zip")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(f"dice-talk-{emotion}.mp4" for emotion in Emotion)
        archive.extract("dice-talk-sad.mp4", tmp_path)
    assert probe(tmp_path / "dice-talk-sad.mp4").frames > 0
    with page.expect_download() as download:
        page.click("#eight-grid li[data-emotion=fear] a")
    assert download.value.suggested_filename == "dice-talk-fear.mp4"
    page.click("#eight-grid li[data-emotion=fear] .cell-open")
    watch_video(page)
    assert page.get_attribute("#video", "aria-label") == "Your video: Fear"
    page.click("#eight-close")
    page.reload()
    page.click("#history li[data-emotion=sad] .open")
    page.click("#eight-show")
    until(page, READY)


def ids(page: Any) -> list[str]:
    return [str(entry["id"]) for entry in page.evaluate("JSON.parse(localStorage.getItem('dice-talk.history'))")]


@pytest.mark.parametrize(("width", "locale", "scheme"), [(360, "zh-CN", "dark"), (1280, "en-US", "light")])
def test_the_grid_fits_and_axe_finds_nothing(
    visit: Callable[..., Any],
    serve: Callable[..., Service],
    portrait: Path,
    speech: Path,
    tmp_path: Path,
    width: int,
    locale: str,
    scheme: str,
) -> None:
    size = {"width": width, "height": 740}
    page = visit(serve("gated").url, viewport=size, locale=locale, color_scheme=scheme, reduced_motion="reduce")
    choose(page, portrait, speech)
    shorten(page)
    page.click("#all-eight")

    def look() -> None:
        found = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in Axe().run(page).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert (found, scrolls_sideways(page)) == ([], False)

    page.locator("#eight-grid li").nth(7).wait_for()
    look()
    (tmp_path / "gate").touch()
    until(page, READY)
    look()


def test_all_are_cancelled(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    page = visit(serve("gated").url)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#all-eight")
    page.locator("#eight-grid li").nth(7).wait_for()
    page.click("#eight-cancel")
    until(page, "document.querySelectorAll('#eight-grid li[data-status=CANCELLED]').length === 8")
    assert page.locator("#eight-cancel").is_hidden()
    (tmp_path / "gate").touch()


def test_what_could_not_be_started_is_said(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    page = visit(serve("gated", queue_size=3).url, refusals=True)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#all-eight")
    page.get_by_text("Too many tasks are waiting").wait_for()
    assert page.locator("#eight-error").is_visible()
    assert 1 < page.locator("#eight-grid li").count() < 8
    page.click("#eight-cancel")
    (tmp_path / "gate").touch()
    until(page, "document.querySelector('#eight-cancel').hidden")


def test_a_server_with_the_documented_calls_alone(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("quick").url, prepare=only_documented_calls)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#all-eight")
    until(page, READY)
