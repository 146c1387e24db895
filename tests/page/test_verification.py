"""What the page says of a video that is dropped or chosen, and of the label in one that it shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Service
from tests.page.steps import choose, shorten, watch_video

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores


def test_a_video_is_verified_and_its_label_shown(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve(None, visible_label="always", content_producer="某某公司")
    task = service.submit(portrait, speech, seed=5)
    service.wait(task)
    video = tmp_path / "video.mp4"
    video.write_bytes(service.download(task).content)
    page = visit(service.url, refusals=True)
    page.set_input_files("#verify-file", video)
    found = page.locator("#verify-found dl")
    found.wait_for()
    words = found.inner_text()
    assert "yes, 20" in words and "某某公司" in words and task in words
    assert "compositeSynthetic" in words and "AI生成 AI-generated" in words
    page.click("#language")
    assert "由本服务器生成" in page.locator("#verify-found").inner_text()
    page.click("#language")
    page.set_input_files("#verify-file", portrait)
    page.locator("#verify-error").wait_for()
    refusal = "The file is not an MP4 video. Send an MP4, as this service makes them."
    assert page.locator("#verify-error").inner_text() == refusal
    assert page.locator("#verify-found").inner_text() == ""
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    assert page.locator("#label-note").inner_text() == "AI生成 AI-generated"


def test_a_drop_on_the_area_is_no_speech(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(real_service.url, refusals=True)
    page.locator("#verify").wait_for()
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["nothing"], "video.mp4", { type: "video/mp4" }));
            const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data });
            document.querySelector("#verify .lead").dispatchEvent(drop);
        }"""
    )
    page.locator("#verify-error").wait_for()
    assert page.locator("#speech-loaded").is_hidden()
    assert page.locator("#speech-error").is_hidden()
