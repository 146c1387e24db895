"""What a person does on the page, and servers that can do less or more than this one."""

import time
from collections.abc import Callable
from typing import Any

import requests

VIDEO = "#video:not([hidden])"


def choose(page: Any, portrait: Any, speech: Any) -> None:
    page.set_input_files("#image-file", portrait)
    page.set_input_files("#audio-file", speech)
    page.locator("#picture:not([hidden])").wait_for()
    page.locator("#speech-loaded:not([hidden])").wait_for()


def shorten(page: Any, seconds: float = 0.5) -> None:
    page.locator("#options").evaluate("details => details.open = true")
    page.fill("#option-duration", str(seconds))


def until(page: Any, condition: str, seconds: float = 150) -> None:
    """Playwright's own `wait_for_function` evaluates strings inside the page, which our policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)  # lets Playwright handle events; time.sleep would not


def watch_video(page: Any) -> float:
    """Wait until the video plays; gives its length."""
    page.locator(VIDEO).wait_for(timeout=150_000)
    until(page, "video.duration > 0 && video.readyState >= 2")
    return float(page.evaluate("video.duration"))


def scrolls_sideways(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def tab_to(page: Any, selector: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
    raise AssertionError(f"the Tab key does not lead to {selector}")


def document(page: Any, change: Callable[[dict[str, Any]], object]) -> None:
    """Make the page see another OpenAPI document: the server's, changed."""

    def answer(route: Any) -> None:
        schema = route.fetch().json()
        change(schema)
        route.fulfill(json=schema)

    page.route("**/openapi.json", answer)


FURTHER = (
    "/api/v1/synthesis",
    "/api/v1/synthesis/{task_id}",
    "/api/v1/synthesis/{task_id}/events",
    "/api/v1/synthesis/{task_id}/cancel",
    "/api/v1/synthesis/{task_id}/retry",
    "/api/v1/synthesis/{task_id}/poster",
    "/api/v1/synthesis/{task_id}/receipt",
    "/api/v1/preflight",
    "/api/v1/verify",
)


def only_documented_calls(page: Any) -> None:
    """A server that has start, status and download, and no more."""
    document(page, lambda schema: [schema["paths"].pop(path, None) for path in FURTHER])


def offering(page: Any, path: str, method: str) -> None:
    """A server whose document names this call; the test answers it."""
    document(page, lambda schema: schema["paths"].setdefault(path, {}).setdefault(method, {}))


def offers(url: str, path: str) -> bool:
    return path in requests.get(f"{url}/openapi.json", timeout=10).json()["paths"]


def an_engine_with_steps(page: Any) -> None:
    """A server whose engine takes notice of all options."""
    lite = {"name": "lite", "summary": "", "available": True, "missing": None, "remedy": None, "ignores": []}
    page.route("**/api/v1/engines", lambda route: route.fulfill(json={"auto": "lite", "engines": [lite]}))
