"""Small pictures and recordings of every kind, byte by byte where no library writes them."""

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageCms

COLOUR = (200, 100, 50)
SIDE = 64
RATE = 16_000
TONE = (0.3 * np.sin(np.arange(RATE // 2) / 9)).astype(np.float32)
MARK = b"Witness-7d1f"
"""Stands in metadata that must not be in any result."""


def flat(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), COLOUR).convert(mode)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(chunks: bytes, picture: bytes | None = None) -> bytes:
    """A PNG file with further chunks before its pixels."""
    picture = picture or encode(flat(), "PNG")
    return picture[:33] + chunks + picture[33:]


def png(width: int, height: int, depth: int, colour: int, rows: bytes, interlace: int = 0) -> bytes:
    """A PNG file that says whatever one likes about `rows`."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def interlaced() -> bytes:
    """Adam7, by hand: Pillow reads it but does not write it."""
    passes = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2))  # columns and rows apart
    starts = ((0, 0), (4, 0), (0, 4), (2, 0), (0, 2), (1, 0), (0, 1))
    rows = b""
    for (across, down), (left, top) in zip(passes, starts, strict=True):
        width, height = len(range(left, SIDE, across)), len(range(top, SIDE, down))
        rows += (b"\0" + bytes(COLOUR) * width) * height
    return png(SIDE, SIDE, 8, 2, rows, interlace=1)


def segment(marker: int, data: bytes) -> bytes:
    """Return a segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segments(segments: bytes) -> bytes:
    picture = encode(flat(), "JPEG")
    return picture[:2] + segments + picture[2:]


def exif(**entries: Any) -> Image.Exif:
    """With an orientation, a place and a note."""
    data = Image.Exif()
    data[0x0112] = entries.get("orientation", 6)
    data[0x010E] = MARK.decode()
    data.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: MARK.decode()})
    return data


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def sound(kind: str = "WAV", subtype: str | None = None, samples: Any = TONE, rate: int = RATE) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        soundfile.write(file.name, samples, rate, format=kind, subtype=subtype)
        return Path(file.name).read_bytes()


def wav(
    body: bytes = bytes(8000),
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    size: int | None = None,
) -> bytes:
    """A WAV file that says whatever one likes about `body`."""
    size = len(body) if size is None else size
    block = channels * bits // 8 & 0xFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    return struct.pack("<4sI4s", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE") + form + riff(b"data", body, size)


def riff(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """A chunk of a WAV file."""
    return kind + struct.pack("<I", len(data) if size is None else size) + data


def id3(body: bytes, size: int | None = None) -> bytes:
    """A tag as it stands before an MP3 file's frames."""
    size = len(body) if size is None else size
    return b"ID3\x04\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + body


def pictures() -> dict[str, bytes]:
    """Honest files of all kinds that cameras and programs make."""
    turned = flat().rotate(90)
    return {
        "RGB JPEG": encode(flat(), "JPEG", exif=exif(), icc_profile=profile(), comment=MARK),
        "progressive JPEG": encode(flat(), "JPEG", progressive=True),
        "grey JPEG": encode(flat("L"), "JPEG"),
        "CMYK JPEG": encode(flat("CMYK"), "JPEG"),
        "JPEG with a second picture": encode(flat(), "MPO", save_all=True, append_images=[turned]),
        "RGB PNG": encode(flat(), "PNG", exif=exif(), icc_profile=profile()),
        "palette PNG": encode(flat().quantize(), "PNG"),
        "palette PNG with transparency": encode(flat().quantize(), "PNG", transparency=200),
        "RGBA PNG": encode(flat("RGBA"), "PNG"),
        "grey PNG with alpha": encode(flat("LA"), "PNG"),
        "1-bit PNG": encode(flat("1"), "PNG"),
        "16-bit grey PNG": png(SIDE, SIDE, 16, 0, (b"\0" + b"\x80\x33" * SIDE) * SIDE),
        "16-bit RGB PNG": png(SIDE, SIDE, 16, 2, (b"\0" + b"\xc8\x11\x64\x22\x32\x33" * SIDE) * SIDE),
        "16-bit RGBA PNG": png(SIDE, SIDE, 16, 6, (b"\0" + b"\xc8\x11\x64\x22\x32\x33\xff\xff" * SIDE) * SIDE),
        "interlaced PNG": interlaced(),
        "animated PNG": encode(flat(), "PNG", save_all=True, append_images=[turned, flat()]),
    }


def recordings() -> dict[str, bytes]:
    """Honest files of all kinds that recorders and programs make."""
    kinds = (
        "PCM_U8",
        "PCM_16",
        "PCM_24",
        "PCM_32",
        "FLOAT",
        "DOUBLE",
        "ULAW",
        "ALAW",
        "IMA_ADPCM",
        "MS_ADPCM",
        "GSM610",
    )
    mp3 = sound("MP3")
    return {
        **{f"WAV {kind}": sound("WAV", kind) for kind in kinds},
        "WAV of 8 channels": sound("WAV", samples=np.tile(TONE[:, None], 8)),
        "extensible WAV": sound("WAVEX", "PCM_24"),
        "RF64": sound("RF64"),
        "MP3": mp3,
        "MP3 with a tag": id3(b"TIT2\0\0\0\x0d\0\0\0" + MARK + bytes(100)) + mp3,
    }
