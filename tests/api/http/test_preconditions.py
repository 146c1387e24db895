"""Conditional requests in the order of RFC 9110, 13.2.2: the first that decides, decides."""

from email.utils import formatdate

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from api.errors import PreconditionFailed
from api.http.preconditions import conditional

ETAG, MODIFIED = '"abc"', "Tue, 15 Jan 2030 12:00:00 GMT"
LONG_AGO, SOON = formatdate(0, usegmt=True), formatdate(4_000_000_000, usegmt=True)
OTHER = '"x"'

CASES: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"If-Match": ETAG}, 200),
    ({"If-Match": f"{OTHER}, {ETAG}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": " * "}, 200),
    ({"If-Match": OTHER}, 412),
    ({"If-Match": ""}, 412),
    ({"If-Match": f"W/{ETAG}"}, 412),
    ({"If-Match": ETAG.strip('"')}, 412),
    ({"If-Match": '"*"'}, 412),
    ({"If-Unmodified-Since": MODIFIED}, 200),
    ({"If-Unmodified-Since": SOON}, 200),
    ({"If-Unmodified-Since": LONG_AGO}, 412),
    ({"If-Unmodified-Since": "Tue, 15 Jan 2030 11:59:59 GMT"}, 412),
    ({"If-Unmodified-Since": "yesterday"}, 200),
    ({"If-Unmodified-Since": LONG_AGO, "If-Match": ETAG}, 200),
    ({"If-Unmodified-Since": SOON, "If-Match": OTHER}, 412),
    ({"If-None-Match": ETAG}, 304),
    ({"If-None-Match": f"{OTHER} ,W/{ETAG}"}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": OTHER}, 200),
    ({"If-None-Match": "abc"}, 200),
    ({"If-Modified-Since": MODIFIED}, 304),
    ({"If-Modified-Since": "Tue, 15 Jan 2030 12:00:01 GMT"}, 304),
    ({"If-Modified-Since": "Tue, 15 Jan 2030 11:59:59 GMT"}, 200),
    ({"If-Modified-Since": "Tue, 15 Jan 2030 13:00:00 +0100"}, 304),
    ({"If-Modified-Since": "Tue, 15 Jan 2030 12:00:00"}, 304),
    ({"If-Modified-Since": "Tue, 99 Foo 2024"}, 200),
    ({"If-Modified-Since": "Tue, 15 Jan 99999999999 12:00:00 GMT"}, 200),
    ({"If-None-Match": OTHER, "If-Modified-Since": SOON}, 200),
    ({"If-None-Match": ETAG, "If-Modified-Since": LONG_AGO}, 304),
    ({"If-Match": OTHER, "If-None-Match": ETAG}, 412),
    ({"If-Match": ETAG, "If-None-Match": ETAG}, 304),
    ({"If-Unmodified-Since": LONG_AGO, "If-None-Match": ETAG}, 412),
]


def status(*headers: tuple[str, str], etag: str = ETAG) -> int:
    response = Response(b"body", headers={"etag": etag, "last-modified": MODIFIED})
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    try:
        answer = conditional(response, Headers(raw=raw))
    except PreconditionFailed as error:
        return int(error.status)
    assert (answer is response) == (answer.status_code == 200)
    return answer.status_code


@pytest.mark.parametrize(("headers", "expected"), CASES)
def test_conditions(headers: dict[str, str], expected: int) -> None:
    assert status(*headers.items()) == expected


def test_header_lines_of_one_name_are_one_list() -> None:
    assert status(("If-None-Match", OTHER), ("If-None-Match", ETAG)) == 304
    assert status(("If-Match", OTHER), ("If-Match", ETAG)) == 200


def test_two_dates_are_none() -> None:
    assert status(("If-Modified-Since", SOON), ("If-Modified-Since", SOON)) == 200
    assert status(("If-Unmodified-Since", LONG_AGO), ("If-Unmodified-Since", LONG_AGO)) == 200


def test_a_weak_tag_of_our_own_matches_weakly_only() -> None:
    assert status(("If-None-Match", ETAG), etag=f"W/{ETAG}") == 304
    assert status(("If-Match", f"W/{ETAG}"), etag=f"W/{ETAG}") == 412


def test_what_was_not_changed_has_no_body_and_the_same_tag() -> None:
    response = Response(b"body", headers={"etag": ETAG, "last-modified": MODIFIED})
    answer = conditional(response, Headers({"if-none-match": ETAG}))
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", ETAG)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"if-match": OTHER}, "If-Match names another version of this file"),
        ({"if-unmodified-since": LONG_AGO}, "The file was changed after If-Unmodified-Since"),
    ],
)
def test_why_it_failed_is_told(headers: dict[str, str], words: str) -> None:
    response = Response(b"body", headers={"etag": ETAG, "last-modified": MODIFIED})
    with pytest.raises(PreconditionFailed, match=words):
        conditional(response, Headers(headers))
