"""The top-level boxes of an MP4."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEADER = 8


@dataclass(frozen=True)
class Mp4Box:
    """Position of a box in its file, in bytes."""

    kind: bytes  # four letters
    start: int  # of its content
    end: int


def boxes(file: BinaryIO) -> Iterator[Mp4Box]:
    """Yield all boxes. Stops at the end of the file, or where its structure is broken."""
    size = file.seek(0, 2)
    place = 0
    while place + HEADER <= size:
        file.seek(place)
        header = file.read(HEADER)
        length, kind, start = int.from_bytes(header[:4], "big"), header[4:], place + HEADER
        if length == 1:
            length, start = int.from_bytes(file.read(8), "big"), start + 8
        end = size if length == 0 else place + length
        if end < start or end > size:
            return
        yield Mp4Box(kind, start, end)
        place = end


def box(kind: bytes, content: bytes) -> bytes:
    """Return the bytes of a box."""
    return (HEADER + len(content)).to_bytes(4, "big") + kind + content


def moov_first(file: BinaryIO) -> bool:
    """Return whether an MP4's index precedes its media, so that it can be played while it is being downloaded."""
    return next((one.kind == b"moov" for one in boxes(file) if one.kind in (b"moov", b"mdat")), False)
