import io
from pathlib import Path

import pytest

from dice_talk.labels.boxes import box, boxes, moov_first


def test_boxes_that_lie_end_the_list(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = box(b"free", b"1234")
    for tail in (b"\0\0\0\1big!", b"\0\0\0\3bad!", b"\xff\xff\xff\xfflong", b"\0"):
        path.write_bytes(whole + tail)
        with path.open("rb") as file:
            assert [(one.kind, one.start, one.end) for one in boxes(file)] == [(b"free", 8, 12)]


def listed(content: bytes) -> list[tuple[bytes, int, int]]:
    return [(one.kind, one.start, one.end) for one in boxes(io.BytesIO(content))]


def test_boxes_follow_one_another() -> None:
    assert listed(box(b"ftyp", b"1234") + box(b"free", b"") + box(b"mdat", b"56")) == [
        (b"ftyp", 8, 12),
        (b"free", 20, 20),
        (b"mdat", 28, 30),
    ]
    assert listed(b"") == []


def test_a_box_may_have_a_long_size_or_go_to_the_end() -> None:
    long = b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + b"1234"
    assert listed(long + box(b"free", b"")) == [(b"mdat", 16, 20), (b"free", 28, 28)]
    assert listed(b"\0\0\0\0mdat" + b"1234567") == [(b"mdat", 8, 15)]


@pytest.mark.parametrize(
    ("kinds", "first"),
    [
        ((b"ftyp", b"moov", b"mdat"), True),
        ((b"ftyp", b"mdat", b"moov"), False),
        ((b"free", b"moov"), True),
        ((b"ftyp",), False),
    ],
)
def test_an_index_first_lets_players_start(kinds: tuple[bytes, ...], first: bool) -> None:
    assert moov_first(io.BytesIO(b"".join(box(kind, b"x") for kind in kinds))) is first
