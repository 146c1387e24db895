"""What a file is, sent as a portrait and as a recording: one name, and a step for each."""

import io
import re
import struct
import time
from pathlib import Path

import pytest

from dice_talk.audio_start import find_sound
from dice_talk.errors import InvalidAudio, InvalidImage
from dice_talk.image import load_portrait
from dice_talk.kinds import HEAD_BYTES, kind_of

Z = bytes(600)
BMP = b"BM" + struct.pack("<IHHIIiiHH", 654, 0, 0, 54, 40, 10, 10, 1, 24) + Z
ITSELF, PHOTO = "Send the recording itself, as WAV or MP3.", "Send a photo of the face, as JPEG or PNG."


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I", 12 + 4 * len(brands)) + b"ftyp" + brands[0] + Z[:4] + b"".join(brands[1:]) + Z


def jpeg(file: str) -> str:
    return f"Make a JPEG of it: magick {file} portrait.jpg"


def wav(extension: str) -> str:
    return f"Make a WAV of it: ffmpeg -i recording.{extension} recording.wav"


def still(extension: str) -> str:
    return f"Send one picture of it: ffmpeg -i portrait.{extension} -frames:v 1 picture.png"


def unpack(what: str) -> str:
    return f"Unpack it and send the {what} inside, as {'JPEG or PNG' if what == 'picture' else 'WAV or MP3'}."


RAW = "Export it as JPEG"
PHONE = "On an iPhone"
PAGE = "The address that it came from"
PICTURES = [
    (b"GIF89a" + Z, "a GIF picture", jpeg("'portrait.gif[0]'")),
    (BMP, "a BMP picture", jpeg("portrait.bmp")),
    (b"8BPS\0\1" + Z, "a Photoshop file (PSD)", jpeg("'portrait.psd[0]'")),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + Z, "a JPEG 2000 picture", jpeg("portrait.jp2")),
    (b"\xff\x4f\xff\x51" + Z, "a JPEG 2000 picture", jpeg("portrait.j2k")),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + Z, "a JPEG XL picture", jpeg("portrait.jxl")),
    (b"\xff\x0a\xfa" + Z, "a JPEG XL picture", jpeg("portrait.jxl")),
    (b"II*\0\x08\0\0\0" + Z, "a TIFF picture", jpeg("portrait.tif")),
    (b"MM\0*\0\0\0\x08" + Z, "a TIFF picture", jpeg("portrait.tif")),
    (b"II*\0\x10\0\0\0CR\2\0" + Z, "a camera's raw picture", RAW),
    (b"\0\0\1\0\1\0\x20\x20\0\0\1\0\x20\0" + Z, "an icon (ICO)", jpeg("'portrait.ico[0]'")),
    (b"\0\0\2\0\1\0\x20\x20\0\0\1\0\x20\0" + Z, "a cursor (CUR)", jpeg("'portrait.cur[0]'")),
    (b"icns\0\0\1\0" + Z, "an icon (ICNS)", jpeg("'portrait.icns[0]'")),
    (b"%PDF-1.7\n", "a PDF document", jpeg("'portrait.pdf[0]'")),
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\0", "a PDF document", jpeg("'portrait.pdf[0]'")),
    (b"%!PS-Adobe-3.0\n", "a PostScript document", jpeg("portrait.eps")),
    (b"\x76\x2f\x31\x01\2\0\0\0" + Z, "an OpenEXR picture", jpeg("portrait.exr")),
    (b"#?RADIANCE\n" + Z, "a Radiance picture (HDR)", jpeg("portrait.hdr")),
    (b"DDS \x7c" + Z, "a DDS picture", jpeg("portrait.dds")),
    (b"\x8aMNG\r\n\x1a\n" + Z, "an MNG animation", jpeg("'portrait.mng[0]'")),
    (b"P6\n64 64\n255\n" + Z, "a Netpbm picture (PPM)", jpeg("portrait.ppm")),
    (b"P3\n# by hand\n1 1\n255\n0 0 0\n", "a Netpbm picture (PPM)", jpeg("portrait.ppm")),
    (b"RIFF\x99\0\0\0WEBPVP8 " + Z, "a WebP picture", jpeg("portrait.webp")),
    (ftyp(b"avif", b"mif1"), "an AVIF picture", jpeg("portrait.avif")),
    (ftyp(b"mif1", b"avif", b"miaf"), "an AVIF picture", jpeg("portrait.avif")),
    (ftyp(b"heic", b"mif1"), "a HEIC picture", PHONE),
    (ftyp(b"mif1", b"heic"), "a HEIC picture", PHONE),
    (ftyp(b"crx ", b"isom"), "a camera's raw picture", RAW),
    (b'<?xml version="1.0"?>\n<!-- <html> -->\n<svg width="9">', "an SVG drawing", jpeg("portrait.svg")),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing", jpeg("portrait.svg")),
]
SOUNDS = [
    (b"fLaC\0" + Z, "a FLAC file", wav("flac")),
    (b"#!AMR\n" + Z, "an AMR file", wav("amr")),
    (b"\2#!SILK_V3" + Z, "a SILK file (WeChat)", "Make a WAV of it with a SILK decoder"),
    (b"FORM\0\0\0\x99AIFFCOMM" + Z, "an AIFF file", wav("aiff")),
    (b"caff\0\1" + Z, "a CAF file", wav("caf")),
    (b".snd\0\0\0\x18" + Z, "an AU file", wav("au")),
    (b"OggS\0\2" + Z[:22] + b"OpusHead" + Z, "an OGG file (Opus)", wav("opus")),
    (ftyp(b"M4A ", b"isom"), "an M4A file (AAC or Apple Lossless)", wav("m4a")),
    (b"MThd\0\0\0\6" + Z, "a MIDI file: notes, not sound", "Play it to a WAV"),
    (b"RIFF\x99\0\0\0RMIDdata" + Z, "a MIDI file: notes, not sound", "Play it to a WAV"),
]
VIDEOS = [
    (ftyp(b"isom", b"mp42"), "an MP4 file (AAC as a rule)", "mp4"),
    (ftyp(b"qt  "), "a QuickTime film", "mov"),
    (ftyp(b"3gp4"), "a 3GP file (AMR or AAC)", "3gp"),
    (b"RIFF\x99\0\0\0AVI LIST" + Z, "an AVI video", "avi"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm" + Z + b"A_OPUS", "a WebM file (Opus)", "webm"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska" + Z, "an MKV file (Matroska)", "mkv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + Z, "a WMA or WMV file (ASF)", "wma"),
    (b"FLV\x01\5" + Z, "an FLV video", "flv"),
    (b"\0\0\x01\xba" + Z, "an MPEG video", "mpg"),
    ((b"G" + bytes(187)) * 4, "an MPEG transport stream", "ts"),
    (b"OggS\0\2" + Z[:22] + b"\x80theora" + Z, "an OGG video (Theora)", "ogv"),
]
ARCHIVES = [
    (b"PK\x03\x04" + Z, "a ZIP archive or an Office document"),
    (b"\x1f\x8b\x08\0" + Z, "a gzip archive"),
    (b"BZh91AY&SY\0\1" + Z, "a bzip2 archive"),
    (b"\xfd7zXZ\0" + Z, "an xz archive"),
    (b"\x28\xb5\x2f\xfd\4" + Z, "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c" + Z, "a 7z archive"),
    (b"Rar!\x1a\x07\0" + Z, "a RAR archive"),
    (b"face.jpg".ljust(257, b"\0") + b"ustar\x0000" + Z, "a tar archive"),
]
PAGES = [
    (b"\n<!DOCTYPE html><html></html>", "an HTML page"),
    (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html>', "an HTML page"),
    ("\ufeff<html></html>".encode("utf-16-le"), "an HTML page"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
]
OTHERS = [
    (b"\x7fELF\2" + Z, "a program"),
    (b"MZ\x90\0" + Z, "a program"),
    (b"SQLite format 3\0" + Z, "a database"),
    (b"{\\rtf1\\ansi Hello}", "an RTF document"),
    (b"BMW and other cars", "text"),
    (b"MZ is a prefix of Czech phones", "text"),
    (b"[see the minutes] of Monday", "text"),
    (b"{curly} words", "text"),
    (b"P1 is first", "text"),
    (b"<3 you", "text"),
    ("Gr\u00fc\u00dfe aus Wien, wie immer".encode("latin-1"), "text"),
    ("\ufeffGr\u00fc\u00dfe".encode("utf-16-be"), "text"),
    (b"#EXTM3U\nspeech.mp3\n", "a playlist, which only names recordings"),
    (b"", "empty"),
]
ANSWERS = [b'{"detail": "quota"}', b"{}", b'[{"a": 1}]', b"[1, 2]", b"[ true ]", b"\n[]"]
KINDS = [
    *((data, name, step, ITSELF) for data, name, step in PICTURES),
    *((data, name, PHOTO, step) for data, name, step in SOUNDS),
    *((data, name, still(end), wav(end)) for data, name, end in VIDEOS),
    *((data, name, unpack("picture"), unpack("recording")) for data, name in ARCHIVES),
    *((data, name, PAGE, PAGE) for data, name in PAGES),
    *((data, name, PHOTO, ITSELF) for data, name in OTHERS),
    *((data, "JSON", "It may be an error", "It may be an error") for data in ANSWERS),
    (b"data:image/png;base64,iVBO", "a data URL", "Decode its base64", "Decode its base64"),
    (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a pointer of Git LFS",
        "Fetch the picture",
        "Fetch the recording",
    ),
]


def as_portrait(data: bytes, folder: Path) -> InvalidImage:
    (folder / "sent").write_bytes(data)
    with pytest.raises(InvalidImage) as refusal:
        load_portrait(folder / "sent")
    assert str(refusal.value) == "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"
    return refusal.value


def as_recording(data: bytes) -> InvalidAudio:
    with pytest.raises(InvalidAudio) as refusal:
        find_sound(io.BytesIO(data))
    assert str(refusal.value) == "Invalid audio file type. Allowed types: ['audio/wav', 'audio/mpeg']"
    return refusal.value


@pytest.mark.parametrize(("data", "name", "to_jpeg", "to_wav"), KINDS, ids=[repr(k[0][:12])[2:-1] for k in KINDS])
def test_a_kind_has_one_name_and_a_step_for_each_use(
    data: bytes, name: str, to_jpeg: str, to_wav: str, tmp_path: Path
) -> None:
    portrait, recording = as_portrait(data, tmp_path), as_recording(data)
    assert str(portrait.detail).startswith(f"The file is {name}. {to_jpeg}")
    assert str(recording.detail).startswith(f"The file is {name}. {to_wav}")
    assert portrait.params["kind_id"] == recording.params["kind_id"] != ""
    for error in (portrait, recording):
        assert error.params["step"] in str(error.detail)
        assert error.params["command"] in error.params["step"]
        assert bool(error.params["command"]) == bool(re.search(": [a-z]+ ", error.params["step"]))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"RIFF\x99\0\0\0WAVEfmt " + Z, "a WAV recording"),
        (b"RIFX\0\0\0\x99WAVEfmt " + Z, "a WAV recording"),
        (b"RF64\xff\xff\xff\xffWAVEds64" + Z, "a WAV recording"),
        (b"ID3\4\0\0" + Z, "an MP3 recording"),
        (b"\xff\xfb\x90\x64" + Z, "an MP3 recording"),
        (b"\xff\xe3\x28\xc4" + Z, "an MP3 recording"),
        (b"\xff\xfd\x90\x04" + Z, "MPEG audio layer II (MP2)"),
        (b"\xff\xf1\x50\x80" + Z, "raw AAC (ADTS)"),
    ],
)
def test_recordings_are_no_portraits(data: bytes, name: str, tmp_path: Path) -> None:
    assert as_portrait(data, tmp_path).detail == f"The file is {name}. {PHOTO}"


@pytest.mark.parametrize(
    ("data", "name"), [(b"\xff\xd8\xff\xe0" + Z, "JPEG"), (b"\x89PNG\r\n\x1a\n" + Z, "PNG")], ids=["JPEG", "PNG"]
)
def test_portraits_are_no_recordings(data: bytes, name: str) -> None:
    assert as_recording(data).detail == f"The file is a {name} picture. {ITSELF}"


@pytest.mark.parametrize(
    "start", [b"", b"<", b"<!--", b"<?", b"<a", b"[", b"{ ", b"P1 ", b"\xff", b"\xff\xfe", b"RIFF"]
)
def test_no_head_takes_long(start: bytes) -> None:
    for filling in (start or b" ", b" ", b"<", b"-", b"\xff", b"1"):
        began = time.process_time()
        kind_of((start + filling * HEAD_BYTES)[:HEAD_BYTES])
        assert time.process_time() - began < 0.2
