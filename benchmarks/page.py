"""Takes the README's picture of the page, with the sample and a server that runs.

python -m benchmarks.page http://localhost:8000
"""

import os
import shutil
import sys

from playwright.sync_api import ViewportSize, sync_playwright

from benchmarks.pictures import OUT

_SIZE: ViewportSize = {"width": 1240, "height": 1010}
_QUALITY = 82
_PATIENCE_MS = 180_000
_MOMENT_S = 1.3
"""Into the video, with the mouth open."""


def main() -> None:
    """Entry point."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE, locale="en-US", reduced_motion="reduce")
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(sys.argv[1])
        page.click("[data-sample='collins.jpg']")
        page.locator("#submit-note:not(:empty)").wait_for()
        page.click("#submit")
        page.locator("#video:not([hidden])").wait_for()
        page.evaluate(
            f"""new Promise((shown) => {{
                const video = document.querySelector("#video");
                video.removeAttribute("controls");
                video.addEventListener("seeked", shown);
                video.addEventListener("loadeddata", () => (video.currentTime = {_MOMENT_S}));
                if (video.readyState >= 2) video.currentTime = {_MOMENT_S};
            }})"""
        )
        page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.screenshot(path=str(OUT / "page.jpg"), type="jpeg", quality=_QUALITY)
        browser.close()


if __name__ == "__main__":
    main()
