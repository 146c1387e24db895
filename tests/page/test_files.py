"""How the page's files are served. Needs no browser."""

import re
import tomllib
from pathlib import Path

import pytest
import requests

from api.http.pages import WEB
from tests.conftest import ROOT, Service

FILES = sorted(str(file.relative_to(WEB)) for file in WEB.rglob("*") if file.is_file())
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".txt": "text/plain; charset=utf-8",
}


@pytest.mark.parametrize("name", ["", *FILES])
def test_type_and_caching(real_service: Service, name: str) -> None:
    url = f"{real_service.url}/web/{name}" if name else f"{real_service.url}/"
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == TYPES[Path(name or "index.html").suffix]
    assert answer.headers["cache-control"] == "no-cache"
    again = requests.get(url, headers={"If-None-Match": answer.headers["etag"]}, timeout=10)
    assert (again.status_code, again.content) == (304, b"")
    head = requests.head(url, timeout=10)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


def test_errors_keep_the_documented_form(real_service: Service) -> None:
    for name in ("nothing.js", "..%2fserver.py", "%2e%2e/server.py", "sample/"):
        answer = requests.get(f"{real_service.url}/web/{name}", timeout=10)
        assert (answer.status_code, "error" in answer.json()) == (404, True)
    answer = requests.post(f"{real_service.url}/", timeout=10)
    assert (answer.status_code, "error" in answer.json()) == (405, True)
    answer = requests.get(f"{real_service.url}/nothing", timeout=10)
    assert (answer.status_code, "error" in answer.json()) == (404, True)


def test_all_files_are_packaged() -> None:
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["api"]
    packaged = {file for pattern in globs for file in (ROOT / "api").glob(pattern) if file.is_file()}
    assert packaged == {WEB / name for name in FILES}


def test_nothing_comes_from_elsewhere() -> None:
    for name in FILES:
        if name.endswith((".html", ".css", ".js")):
            text = (WEB / name).read_text(encoding="utf-8")
            found = re.findall(r"https?://[^\s\"')]+", text)
            assert set(found) <= {"http://www.w3.org/2000/svg"}, name
            assert len(text.splitlines()) < 400, name  # a page that needs no build step has to stay readable
