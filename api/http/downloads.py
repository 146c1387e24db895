"""Sends files, with `Range` as RFC 9110 defines it."""

import hashlib
import os
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import BinaryIO

from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable
from starlette.types import Receive, Scope, Send

MAX_RANGES = 100
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
    """Sends an open file and closes it. Removing the file meanwhile does not cut the download off."""

    def __init__(self, file: BinaryIO, *, media_type: str, filename: str, name: str, modified: datetime) -> None:
        """`name`: something that never changes; the ETag is derived from it. `modified`: naive UTC."""
        self._file = file
        descriptor = file.fileno()
        stat = os.fstat(descriptor)
        tag = hashlib.sha256(f"{name} {stat.st_size}".encode()).hexdigest()[:32]
        super().__init__(
            f"/dev/fd/{descriptor}",
            media_type=media_type,
            filename=filename,
            headers={
                "etag": f'"{tag}"',
                "last-modified": format_datetime(modified.replace(microsecond=0, tzinfo=UTC), usegmt=True),
            },
            stat_result=stat,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `FileResponse`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file of a response that is not sent."""
        self._file.close()
