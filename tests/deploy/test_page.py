"""The page in a real browser, through the proxies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deploy.conftest import Front
from tests.page.conftest import chromium, visit  # noqa: F401 - fixtures
from tests.page.steps import choose, shorten, watch_video


def test_from_files_to_a_video(front: Front, visit: Callable[..., Any], portrait: Path, speech: Path) -> None:  # noqa: F811
    page = visit(f"{front.url}/", ignore_https_errors=True)
    choose(page, portrait, speech)
    shorten(page, 1)
    page.click("#submit")
    assert abs(watch_video(page) - 1) < 0.1
    page.goto(f"{front.url}/docs")
    page.locator(".opblock-summary-path").first.wait_for()
    assert "/talk" in page.locator(".servers").inner_text()
