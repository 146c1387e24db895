import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dice_talk import image_file
from dice_talk.errors import InvalidImage
from dice_talk.image_file import JPEG_END, PNG, read_jpeg, read_png

PICTURE = Image.fromarray(np.arange(96 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(80, 96, 3))


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    told = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", told)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def with_chunk(data: bytes, extra: bytes) -> bytes:
    """Behind the header."""
    return data[:33] + extra + data[33:]


def test_a_png_keeps_its_pixels_and_size() -> None:
    source = read_png(encoded("PNG"))
    assert (source.size, source.ended, source.scans, source.cicp) == ((96, 80), True, 1, b"")
    assert np.array_equal(pixels(source.data), np.asarray(PICTURE))


def test_a_png_loses_what_is_not_its_picture() -> None:
    plain = encoded("PNG")
    extra = chunk(b"fdAT", b"frame") + chunk(b"zzZz", b"?") + chunk(b"tEXt", b"a\0b", checksum=1)
    assert read_png(with_chunk(plain, extra) + b"behind").data == read_png(plain).data


def test_of_two_chunks_of_a_kind_the_first_counts() -> None:
    two = chunk(b"cICP", bytes((9, 16, 0, 1))) + chunk(b"cICP", bytes((1, 13, 0, 1)))
    assert read_png(with_chunk(encoded("PNG"), two)).cicp == bytes((9, 16, 0, 1))


@pytest.mark.parametrize(("kind", "kept"), [(b"gAMA", False), (b"PLTE", True)])
def test_a_wrong_checksum_costs_a_chunk_that_may_be_missing(kind: bytes, kept: bool) -> None:
    data = with_chunk(encoded("PNG"), chunk(kind, bytes(4), checksum=1))
    assert (kind in read_png(data).data) is kept


def test_texts_are_counted() -> None:
    texts = b"".join(chunk(b"tEXt", b"n\0%d" % number) for number in range(image_file.MAX_TEXTS + 5))
    assert read_png(with_chunk(encoded("PNG"), texts)).data.count(b"tEXt") == image_file.MAX_TEXTS


def test_a_png_that_is_cut_off_has_not_ended() -> None:
    assert not read_png(encoded("PNG")[:-12]).ended


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"short", "does not begin with a PNG's header"),
        (struct.pack(">IIBBBBB", 9, 9, 3, 0, 0, 0, 0), "bit depth 3, colour type 0"),
        (struct.pack(">IIBBBBB", 9, 9, 8, 5, 0, 0, 0), "colour type 5"),
        (struct.pack(">IIBBBBB", 9, 9, 8, 2, 1, 0, 0), "not a PNG's"),
        (struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 1, 0), "not a PNG's"),
        (struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 2), "not a PNG's"),
    ],
)
def test_headers_without_sense(body: bytes, words: str) -> None:
    with pytest.raises(InvalidImage) as refusal:
        read_png(PNG + chunk(b"IHDR", body))
    assert words in str(refusal.value.detail)


@pytest.mark.parametrize(("options", "scans"), [({}, 1), ({"progressive": True}, 10)])
def test_a_jpeg_keeps_its_pixels_and_its_scans_are_counted(options: dict[str, bool], scans: int) -> None:
    data = encoded("JPEG", **options)
    source = read_jpeg(data)
    assert (source.size, source.ended, source.scans) == ((96, 80), True, scans)
    assert np.array_equal(pixels(source.data), pixels(data))


def test_a_jpeg_loses_comments_and_foreign_segments_and_keeps_what_tells_of_colours() -> None:
    data = encoded("JPEG", comment=b"hello", icc_profile=b"p" * 200, exif=b"Exif\0\0" + bytes(20))
    source = read_jpeg(data[:2] + b"\xff\xed\0\x08secret" + data[2:])
    assert b"hello" not in source.data and b"secret" not in source.data
    assert b"ICC_PROFILE" in source.data and b"Exif" in source.data and b"JFIF" in source.data


def test_a_jpeg_without_its_end_gets_one() -> None:
    data = encoded("JPEG")
    for cut in (data[:-2], data[:-1]):
        source = read_jpeg(cut)
        assert not source.ended and source.data.endswith(JPEG_END)
        assert np.array_equal(pixels(source.data), pixels(data))


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xF7, 0xCB])
def test_kinds_of_jpeg_that_are_not_read_are_named(marker: int) -> None:
    data = encoded("JPEG")
    with pytest.raises(InvalidImage) as refusal:
        read_jpeg(data.replace(b"\xff\xc0", bytes((0xFF, marker))))
    assert "JPEG" in str(refusal.value.detail) and "Save it anew" in str(refusal.value.detail)


def test_a_jpeg_of_twelve_bits_is_not_read() -> None:
    data = bytearray(encoded("JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(InvalidImage) as refusal:
        read_jpeg(bytes(data))
    assert "12 bits" in str(refusal.value.detail)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\0\x04ab", b"\xff\xd8\xff\xff\xff"])
def test_a_jpeg_without_a_picture_is_damaged(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="can't be decoded"):
        read_jpeg(data)


def test_segments_are_counted() -> None:
    data = encoded("JPEG")
    many = b"\xff\xfe\0\x02" * (image_file.MAX_SEGMENTS + 1)
    with pytest.raises(InvalidImage) as refusal:
        read_jpeg(data[:2] + many + data[2:])
    assert "more segments" in str(refusal.value.detail)
