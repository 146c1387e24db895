"""Conditional requests, in the order of RFC 9110 (section 13.2.2)."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse

from api.errors import PreconditionFailed

ETAG = re.compile(r'(?:W/)?"[^"]*"')


def conditional(response: Response, asked: Headers) -> Response:
    """Return a 304 response, or `response` itself, which must have an ETag and Last-Modified. For GET.

    Raises `PreconditionFailed`. `Range` and `If-Range` are evaluated later, by the response.
    """
    etag, modified = response.headers["etag"], parsedate_to_datetime(response.headers["last-modified"])
    if tags := asked.getlist("if-match"):
        if not _lists(tags, etag, _strong):
            raise PreconditionFailed("If-Match names another version of this file")
    elif (since := _date(asked, "if-unmodified-since")) and modified > since:
        raise PreconditionFailed("The file was changed after If-Unmodified-Since")
    if tags := asked.getlist("if-none-match"):
        unchanged = _lists(tags, etag, _weak)
    else:
        since = _date(asked, "if-modified-since")
        unchanged = since is not None and modified <= since
    return NotModifiedResponse(response.headers) if unchanged else response


def _lists(values: Sequence[str], etag: str, equal: Callable[[str, str], bool]) -> bool:
    """Whether header lines list that ETag, or any ETag by a star."""
    text = ", ".join(values)
    return text.strip() == "*" or any(equal(tag, etag) for tag in ETAG.findall(text))


def _strong(tag: str, etag: str) -> bool:
    return tag == etag and not tag.startswith("W/")


def _weak(tag: str, etag: str) -> bool:
    return tag.removeprefix("W/") == etag.removeprefix("W/")


def _date(asked: Headers, name: str) -> datetime | None:
    """Return None also for an invalid date, which is ignored."""
    values = asked.getlist(name)
    try:
        date = parsedate_to_datetime(values[0]) if len(values) == 1 else None
    except (TypeError, ValueError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date and date.tzinfo is None else date
