"""Each task has an address: for Back and Forward, for a reload, for another browser, and after a restart."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from api import keys
from api.settings import Settings
from tests.conftest import Service, running
from tests.page.steps import choose, shorten, until, watch_video

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores


def test_back_forward_and_reload(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path
) -> None:
    page = visit(serve("quick").url)
    choose(page, portrait, speech)
    shorten(page)
    page.click("#submit")
    watch_video(page)
    first = page.evaluate("location.hash")
    assert re.fullmatch(r"#/task/[0-9a-f-]{36}", first)
    page.click('#again-faces [data-emotion="sad"]')
    until(page, f"location.hash !== {first!r}")
    second = page.evaluate("location.hash")
    watch_video(page)
    page.go_back()
    until(
        page, f"location.hash === {first!r} && document.querySelector('#history li[data-emotion=happy] [aria-current]')"
    )
    watch_video(page)
    page.go_back()
    page.locator("#picture:not([hidden])").wait_for()
    page.go_forward()
    watch_video(page)
    assert page.evaluate("location.hash") == first
    page.go_forward()
    until(page, "document.querySelector('#history li[data-emotion=sad] [aria-current]')")
    page.reload()
    watch_video(page)
    assert page.evaluate("location.hash") == second
    page.click("#history li[data-emotion=sad] .remove")
    page.locator("#picture, #empty").first.wait_for(state="attached")
    assert page.evaluate("location.hash") == "#/"


def test_a_link_opens_elsewhere_and_after_a_restart(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    data = tmp_path / "before"
    with running(Settings(data_dir=data, log_dir=tmp_path / "logs"), "quick", tmp_path / "gate") as before:
        task_id = before.submit(portrait, speech, duration=0.5)
        before.wait(task_id)
    service = serve("quick", data_dir=data)
    page = visit(f"{service.url}/#/task/{task_id}")
    watch_video(page)
    assert page.locator("#reuse").is_hidden() and page.locator("#history li").count() == 0
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy-link")
    page.get_by_role("button", name="Link copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{service.url}/#/task/{task_id}"
    page.get_by_role("button", name="Copy the link").wait_for()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as on plain http
    page.click("#copy-link")
    page.get_by_role("button", name="Link copied").wait_for()


def test_a_task_that_is_not_there(visit: Callable[..., Any], real_service: Service) -> None:
    page = visit(f"{real_service.url}/#/task/00000000-0000-4000-8000-000000000000", refusals=True)
    page.get_by_text("The server no longer has this video.").wait_for()


def test_with_keys_a_link_is_for_its_owner(
    visit: Callable[..., Any], serve: Callable[..., Service], portrait: Path, speech: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    alice, bob = keys.add(file, "alice"), keys.add(file, "bob")
    service = serve("quick", api_keys_file=file)
    answer = requests.post(
        f"{service.url}/api/v1/synthesis/start",
        files={"image": portrait.read_bytes(), "audio": speech.read_bytes()},
        data={"emotion": "happy", "duration": 0.5},
        headers={"Authorization": f"Bearer {alice}"},
        timeout=30,
    )
    address = f"{service.url}/#/task/{answer.json()['task_id']}"
    for key, sees in ((bob, False), (alice, True)):
        page = visit(address, refusals=True)
        page.locator("#key-dialog").wait_for()
        page.fill("#key", key)
        page.keyboard.press("Enter")
        if sees:
            watch_video(page)
        else:
            page.get_by_text("or it was made with another key").wait_for()
