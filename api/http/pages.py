"""The page at `/` and its files in `api/web/`."""

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.datastructures import Headers
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.http.downloads import RangedFile
from api.http.preconditions import conditional

WEB = Path(__file__).parent.parent / "web"
REVALIDATE = {"cache-control": "no-cache"}
"""Browsers keep these files, but ask with the ETag each time, so a new release is seen at once."""
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".txt": "text/plain",
}
"""Set explicitly: the system's table may lack some types, and browsers refuse modules of a wrong type."""

router = APIRouter(include_in_schema=False)


class WebFiles(StaticFiles):
    """Serves the page's files. One of the samples is a link to `examples/`, hence `follow_symlink`."""

    def __init__(self) -> None:
        super().__init__(directory=WEB, follow_symlink=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Add the content type and the cache rule."""
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["content-type"] = _type(Path(path))
        response.headers.update(REVALIDATE)
        return response

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Support all conditions and ranges of RFC 9110."""
        file = RangedFile(full_path, status_code=status_code, stat_result=stat_result)
        return conditional(file, Headers(scope=scope))


def _type(file: Path) -> str:
    type_ = TYPES.get(file.suffix, "application/octet-stream")
    return f"{type_}; charset=utf-8" if type_.startswith("text/") else type_


@router.get("/")
def index(request: Request) -> Response:
    """Return the page."""
    file = WEB / "index.html"
    response = RangedFile(file, media_type=TYPES[".html"], headers=REVALIDATE, stat_result=file.stat())
    return conditional(response, request.headers)


def install(app: FastAPI) -> None:
    """Mount the files below a path of their own: at `/`, they would take wrong methods from the API's routes."""
    app.include_router(router)
    app.mount("/web", WebFiles(), name="web")
