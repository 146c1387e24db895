"""The page in a real browser: Debian's Chromium, driven by Playwright, against the real server."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Service

playwright = pytest.importorskip("playwright.sync_api", reason="the tests of the page need the package playwright")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
REFUSED = re.compile(r"Failed to load resource: (the server responded with a status of (4\d\d|503)|net::ERR_FAILED)")


@pytest.fixture(scope="module")  # as long as it lives, its event loop keeps others from running in this thread
def chromium() -> Iterator[Any]:
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium: the page is not tested here; on Debian and Ubuntu, apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """What a page did that no page of ours may do."""

    origin: str
    refusals: bool  # whether the test makes the server refuse something: the browser logs that by itself
    problems: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not (self.refusals and REFUSED.match(message.text)):
            self.problems.append(f"console: {message.text} {message.location}")

    def _on_request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("blob", "data") and f"{address.scheme}://{address.netloc}" != self.origin:
            self.problems.append(f"request: {request.url}")


@pytest.fixture
def visit(chromium: Any, serve: Callable[..., Service]) -> Iterator[Callable[..., Any]]:
    """Open the page: visit(url, refusals=False, prepare=None, **context). Nothing may be left in the console, and
    nothing may have been asked of anybody but the server, which outlives the page: hence `serve`.

    `prepare`: called with the page before it is opened.
    """
    opened: list[tuple[Any, Visit]] = []

    def open_page(
        url: str, *, refusals: bool = False, prepare: Callable[[Any], None] | None = None, **context: Any
    ) -> Any:
        size = {"width": 1280, "height": 900}
        made = chromium.new_context(
            **{"locale": "en-US", "viewport": size, "reduced_motion": "no-preference"} | context
        )
        made.set_default_timeout(60_000)  # engines and other tests may want the same cores
        page = made.new_page()
        address = urlsplit(url)
        record = Visit(f"{address.scheme}://{address.netloc}", refusals)
        record.watch(page)
        opened.append((made, record))
        if prepare:
            prepare(page)
        page.goto(url)
        page.locator("#option-fps").wait_for(state="attached")
        return page

    yield open_page
    for made, _ in opened:
        made.close()
    assert [record.problems for _, record in opened] == [[] for _ in opened]


@pytest.fixture(scope="session")
def bad_pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what is wrong with them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    (folder / "text.png").write_text("not a picture")
    Image.new("RGB", (32, 32), "white").save(folder / "small.png")
    return {file.stem: file for file in folder.iterdir()}
