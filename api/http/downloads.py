"""Sends files, with `Range` as RFC 9110 defines it."""

import hashlib
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from fastapi.responses import FileResponse, RedirectResponse
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable
from starlette.types import Message, Receive, Scope, Send

from api.errors import TaskNotFound
from api.http.middleware import ELSEWHERE, WAS_HEAD
from api.storage.files import OpenVideo

MAX_RANGES = 100
REDIRECT_S = 300.0
"""How long an address that the storage gives out is valid: a download has to begin within that time."""
RANGE = re.compile(r"([0-9]*)-([0-9]*)")


class RangedFile(FileResponse):
    """The framework's `FileResponse`, with `Range` as RFC 9110 (section 14.2) defines it.

    Ranges in other units, or too many of them, are ignored. Of several ranges, those that the file has are sent. A
    malformed header is answered with 400, which the RFC allows.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `FileResponse`."""
        unit, equals, ranges = Headers(scope=scope).get("range", "").partition("=")
        if equals and (unit.strip().lower() != "bytes" or ranges.count(",") >= MAX_RANGES):
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__(scope, receive, send)

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        wanted = [part for item in http_range.partition("=")[2].split(",") if (part := item.strip(" \t"))]
        found = [_range_of(part, file_size) for part in wanted]
        if not found:
            raise MalformedRangeHeader
        there = [f"{start}-{end - 1}" for start, end in found if start < end]
        if not there:
            raise RangeNotSatisfiable(file_size)
        return super()._parse_range_header(f"bytes={','.join(there)}", file_size)  # merges those that overlap


def _range_of(part: str, size: int) -> tuple[int, int]:
    """Return the first byte of a range and the one after its last; the two are equal if the file has none of it.

    Python's `int` alone would accept signs, underscores and other digits. Raises `MalformedRangeHeader`.
    """
    match = RANGE.fullmatch(part)
    try:
        first, last = (int(text) if text else None for text in match.groups()) if match else (None, None)
    except ValueError as error:  # more digits than int() takes
        raise MalformedRangeHeader from error
    if first is None and last is not None:
        return max(size - last, 0), size
    if first is None or (last is not None and last < first):
        raise MalformedRangeHeader
    return first, size if last is None else min(last + 1, size)


class OpenedFile(RangedFile):
    """Sends an open video and closes it. Removing it meanwhile does not cut the download off."""

    chunk_size = 256 * 1024

    def __init__(self, video: OpenVideo, *, media_type: str, filename: str, name: str, modified: datetime) -> None:
        """`name`: something that never changes; the ETag is derived from it. `modified`: naive UTC."""
        self._video = video
        tag = hashlib.sha256(f"{name} {video.size}".encode()).hexdigest()[:32]
        super().__init__(
            "",  # never opened: see `_open_file`
            media_type=media_type,
            filename=filename,
            headers={
                "etag": f'"{tag}"',
                "last-modified": format_datetime(modified.replace(microsecond=0, tzinfo=UTC), usegmt=True),
            },
            stat_result=os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, video.size, 0, 0, 0)),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `FileResponse`. Raises `TaskNotFound` if the video was removed before its first byte was read."""
        try:
            await super().__call__(scope, receive, _with_first_bytes(send))
        except FileNotFoundError as error:
            raise TaskNotFound from error
        finally:
            self.close()

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[Any]:
        yield self._video

    def close(self) -> None:
        """Close the video of a response that is not sent."""
        self._video.close()


class SentOn(RedirectResponse):
    """A redirect to where the storage gives out a video itself."""

    def __init__(self, address: str) -> None:
        super().__init__(address, headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `RedirectResponse`."""

        async def send_elsewhere(message: Message) -> None:
            await send({**message, ELSEWHERE: True})

        await super().__call__(scope, receive, send_elsewhere)


def may_redirect(request: Request) -> bool:
    """Whether a client can follow a redirect to another host.

    A page's script or player could do so only if the bucket and the page were set up for each other, so browsers get
    the video from here, except where somebody opens or saves it. An address is signed for GET, not for HEAD.
    """
    return request.headers.get("sec-fetch-mode", "navigate") == "navigate" and not request.scope.get(WAS_HEAD)


def _with_first_bytes(send: Send) -> Send:
    """Hold the head of a response back until its first bytes are there: until then, an error can be answered."""
    head: Message | None = None

    async def send_late(message: Message) -> None:
        nonlocal head
        if message["type"] == "http.response.start":
            head = message
            return
        if head is not None:
            await send(head)
            head = None
        await send(message)

    return send_late
