"""Cursors: clients hand them back as they were given, and may send anything else."""

import base64
import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidValue
from api.tasks.cursor import decode_cursor, encode_cursor
from tests.api.made import NOW, make_task


@given(st.datetimes(), st.uuids())
def test_a_cursor_names_the_last_task(born: datetime, task_id: object) -> None:
    cursor = encode_cursor(make_task(str(task_id), created_at=born))
    assert decode_cursor(cursor) == (born, str(task_id))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor), "it needs no escaping in an address"


def test_moments_are_told_apart() -> None:
    soon = NOW + timedelta(microseconds=1)
    assert encode_cursor(make_task(created_at=NOW)) != encode_cursor(make_task(created_at=soon))


def coded(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "ä",
        coded("nonsense"),
        coded("2030-01-01T12:00:00"),
        coded("2030-01-01T12:00:00 "),
        coded("yesterday a"),
        coded(" a"),
        coded("2030-01-01T12:00:00+00:00 a"),
        coded("2030-01-01T12:00:00Z a"),
        coded(b"\xff\xfe a"),
        coded("2030-01-01T12:00:00 a") + "\n",
        coded("2030-01-01T12:00:00 a") + "!",
        coded("2030-01-01T12:00:00 a" * 2)[:-1] + "=x",
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidValue, match="The cursor is not one of this server") as refused:
        decode_cursor(cursor)
    assert refused.value.detail == "Send next_cursor as it was given."


@given(st.binary(max_size=60))
def test_whatever_it_holds_it_is_a_cursor_or_refused(data: bytes) -> None:
    try:
        born, task_id = decode_cursor(coded(data))
    except InvalidValue:
        return
    assert born.tzinfo is None
    assert task_id
