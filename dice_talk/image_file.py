"""Scans the parts of a JPEG or PNG file before anything is decoded.

Parts that do not affect the pixels are dropped, so damage in them does no harm. The decoding effort is limited too,
because even small files can demand much of it.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MAX_SEGMENTS = 20_000
"""Segments of a JPEG. A colour profile of 4 MB takes 64."""
MAX_TEXTS = 1000
UNDECODABLE = "The image can't be decoded"
INCOMPLETE = "The file is damaged or incomplete. Send a whole JPEG or PNG."
_ANOTHER = "Save it anew as an ordinary 8-bit JPEG or PNG."


@dataclass(frozen=True)
class StrippedImage:
    """A picture's file without the parts that do not affect its pixels."""

    data: bytes
    size: tuple[int, int]  # as stored, before turning it upright
    ended: bool  # whether the end marker was found
    scans: int = 1
    cicp: bytes = b""  # four code points of ITU-T H.273, if a PNG has them


def damaged(detail: str) -> InvalidImage:
    """Return the error for a JPEG or PNG that cannot be decoded."""
    return InvalidImage(ErrorCode.IMAGE_DAMAGED, UNDECODABLE, detail)


def _not_read(kind_id: str, kind: str) -> InvalidImage:
    return InvalidImage(
        ErrorCode.IMAGE_ENCODING, UNDECODABLE, "It is a {kind}. " + _ANOTHER, kind=kind, kind_id=kind_id
    )


# --- PNG

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ONCE = (b"IHDR", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"PLTE", b"tRNS", b"eXIf")
"""Chunks that are kept besides the pixels, in the order required by the specification. Of duplicates, the first counts.
"""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
"""Text chunks. Up to `MAX_TEXTS` are kept, so that Pillow rejects decompression bombs among them."""


def read_png(data: bytes) -> StrippedImage:
    """Keep the chunks of the still picture. Raises `InvalidImage` if the header makes no sense."""
    size, about, texts, pixels, ended = (0, 0), dict[bytes, bytes](), list[bytes](), list[bytes](), False
    for number, (kind, body, whole) in enumerate(_chunks(data)):
        if number == 0:
            size = _png_size(kind, body)
        if kind == b"IEND":
            ended = True
            break
        if kind == b"IDAT":
            pixels.append(body)
        elif kind in _ONCE and (whole or kind[:1].isupper()):  # lower case means optional
            about.setdefault(kind, body)
        elif kind in _TEXTS and whole and len(texts) < MAX_TEXTS:
            texts.append(_chunk(kind, body))
    cicp = about.pop(b"cICP", b"")
    header = b"".join(_chunk(kind, about[kind]) for kind in _ONCE if kind in about)
    still = b"".join([PNG, header, *texts, _chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")])
    return StrippedImage(still, size, ended, cicp=cicp)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield type, body and whether the checksum is right. A chunk that is cut off is yielded as it is."""
    at = len(PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, told = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        yield kind, body, kind not in (*_ONCE, *_TEXTS) or told == struct.pack(">I", zlib.crc32(kind + body))
        at += 12 + length


def _png_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind != b"IHDR" or len(body) != 13:
        raise damaged("It does not begin with a PNG's header. " + _ANOTHER)
    width, height, depth, colour, packing, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlace > 1:
        raise damaged(f"Its header is not a PNG's: bit depth {depth}, colour type {colour}. " + _ANOTHER)
    return width, height


# --- JPEG

JPEG_END = b"\xff\xd9"
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Matches only the last of several fill bytes before a marker, because `\\xff+` would take quadratic time."""
_SOF, _SOS, _EOI = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}), 0xDA, 0xD9
_ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_NOT_READ = {
    0xC3: ("jpeg_lossless", "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7), ("jpeg_hierarchical", "hierarchical JPEG")),
    0xF7: ("jpeg_ls", "JPEG-LS picture"),
}
_OTHER_JPEG = ("jpeg_other", "lossless or hierarchical JPEG")


def read_jpeg(data: bytes) -> StrippedImage:
    """Keep tables, frame and scans, and the EXIF, ICC and Adobe segments.

    Raises `InvalidImage` if the header makes no sense.
    """
    size, scans, parts, ended = (0, 0), 0, [b"\xff\xd8"], False
    for number, (marker, body) in enumerate(_segments(data)):
        if number > MAX_SEGMENTS:
            raise damaged("It has more segments than any program writes. " + _ANOTHER)
        if marker == _EOI:
            ended = True
            break
        if marker in _SOF and not scans:
            size = _jpeg_size(marker, body)
        if marker == _SOS:
            scans += 1
        if marker in _SOF or marker == _SOS or marker in _TABLES or _affects_pixels(marker, body):
            parts += [bytes((0xFF, marker)), body]
    if not scans or size == (0, 0):
        raise damaged(INCOMPLETE)
    if not ended:
        parts[-1] = parts[-1].rstrip(b"\xff")  # half a marker
    return StrippedImage(b"".join([*parts, JPEG_END]), size, ended, scans=scans)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker with the bytes that follow it up to the next one, including the length and a scan's pixels."""
    at = 2
    while found := _NEXT_MARKER.search(data, at):
        marker, start = data[found.end() - 1], found.end()
        if marker in _ALONE or marker == _EOI:
            yield marker, b""
            at = start
            continue
        at = start + int.from_bytes(data[start : start + 2], "big")
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)
        yield marker, data[start:at]


def _jpeg_size(marker: int, body: bytes) -> tuple[int, int]:
    if len(body) < 8:
        raise damaged(INCOMPLETE)
    precision, height, width = struct.unpack(">BHH", body[2:7])
    if marker in _NOT_READ or marker > 0xCA:
        raise _not_read(*_NOT_READ.get(marker, _OTHER_JPEG))
    if precision != 8:
        raise _not_read("jpeg_depth", f"JPEG of {precision} bits a colour")
    return width, height


def _affects_pixels(marker: int, body: bytes) -> bool:
    """Return whether a segment affects colours or orientation."""
    starts = {0xE0: b"JFIF\0", 0xE1: b"Exif\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
    return marker in starts and body.startswith(starts[marker], 2)
