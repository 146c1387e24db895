"""The page and its files, without a socket."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from api.http import errors, pages
from api.http.pages import TYPES, WEB
from tests.api.asgi import call

FILES = sorted(path.relative_to(WEB) for path in WEB.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def app() -> FastAPI:
    app = FastAPI()
    pages.install(app)
    errors.install(app, {})
    return app


def test_the_page(app: FastAPI) -> None:
    answer = call(app, "GET", "/")
    assert (answer.status, answer.body) == (200, (WEB / "index.html").read_bytes())
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert call(app, "GET", "/", {"if-none-match": answer.headers["etag"]}).status == 304
    assert call(app, "POST", "/").status == 405


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_has_the_type_that_browsers_ask_for(app: FastAPI, file: Path) -> None:
    answer = call(app, "GET", f"/web/{file}")
    assert (answer.status, answer.body) == (200, (WEB / file).read_bytes())
    assert file.suffix in TYPES
    kind = answer.headers["content-type"]
    assert kind.partition(";")[0] == TYPES[file.suffix]
    assert kind.endswith("; charset=utf-8") == kind.startswith("text/")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["etag"]


@pytest.mark.parametrize("path", ["/web/nothing.js", "/web/", "/web/../app.py", "/web/%2e%2e/app.py", "/app.js"])
def test_what_is_not_there(app: FastAPI, path: str) -> None:
    assert call(app, "GET", path).status == 404


def test_files_take_conditions_and_ranges(app: FastAPI) -> None:
    whole = call(app, "GET", "/web/style.css")
    for headers, status in (
        ({"if-none-match": whole.headers["etag"]}, 304),
        ({"if-modified-since": whole.headers["last-modified"]}, 304),
        ({"if-match": '"x"'}, 412),
        ({"range": "lines=0-1"}, 200),
        ({"range": "bytes=2-3"}, 206),
    ):
        answer = call(app, "GET", "/web/style.css", headers)
        assert answer.status == status, headers
        assert status != 304 or answer.headers["cache-control"] == "no-cache"
    assert call(app, "GET", "/web/style.css", {"range": "bytes=2-3"}).body == whole.body[2:4]
