"""What stands before and behind the sound, and what is no WAV or MP3 at all."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dice_talk.audio import load_speech
from dice_talk.audio_start import find_sound
from dice_talk.errors import InvalidAudio
from tests.encode import encoded, mp3

RATE = 24_000


@pytest.fixture(scope="module")
def spoken(speech: Path) -> Any:
    return soundfile.read(speech, dtype="float32")[0][: 2 * RATE]


def id3(size: int, footer: bool = False, claimed: int | None = None) -> bytes:
    claimed = size if claimed is None else claimed
    digits = bytes(claimed >> shift & 127 for shift in (21, 14, 7, 0))
    tail = b"3DI\x04\0\x10" + digits if footer else b""
    return b"ID3\x04\0" + (b"\x10" if footer else b"\0") + digits + bytes(size) + tail


def ape(size: int) -> bytes:
    """With a header, an item and a footer."""
    item = struct.pack("<II", size - 12, 0) + b"Art\0" + b"\xff" * (size - 12)
    ends = [b"APETAGEX" + struct.pack("<IIII", 2000, size + 32, 1, flags) + bytes(8) for flags in (0xA0000000, 1 << 31)]
    return ends[0] + item + ends[1]


NOISE = np.random.default_rng(0).integers(0, 250, 5000, np.uint8).tobytes()
BEFORE = {
    "a zero": b"\0",
    "zeros": bytes(4096),
    "300 kB of zeros": bytes(300_000),
    "ID3": id3(1000),
    "ID3 with a footer": id3(1000, footer=True),
    "ID3 with much padding": id3(300_000),
    "several tags": id3(50) + id3(5000, footer=True) + ape(700) + id3(17),
    "zeros between tags": id3(50) + bytes(999) + id3(5000) + bytes(3),
    "APE": ape(100_000),
    "ID3v1": b"TAG" + b"x" * 125,
    "a tag longer than it says": id3(3000, claimed=1000),
    "a tag that claims more than there is": id3(300, claimed=2**28 - 1),
    "noise": NOISE,
    "text": b"Content-Type: audio/mpeg\r\n\r\n",
}
AFTER = {
    "ID3v1": b"TAG" + b"x" * 125,
    "APE": ape(3000),
    "ID3 with a footer": id3(100, footer=True),
    "zeros": bytes(100_000),
    "HTML": b"<html>" * 1000,
    "noise": NOISE,
}


@pytest.mark.parametrize("kind", ["mp3", "wav"])
@pytest.mark.parametrize("name", BEFORE)
def test_junk_before_the_sound_changes_nothing(tmp_path: Path, spoken: Any, name: str, kind: str) -> None:
    if kind == "wav" and (name in ("noise", "text") or name.startswith("a tag")):
        pytest.skip("a WAV has to begin where a tag says that it does")
    plain = mp3(spoken, RATE) if kind == "mp3" else encoded(spoken, RATE, "wav", "pcm_s16le")
    path = tmp_path / "sound"
    path.write_bytes(plain)
    right = load_speech(path, 300)
    path.write_bytes(BEFORE[name] + plain)
    found = load_speech(path, 300)
    assert found.seconds == pytest.approx(2, abs=0.01)
    assert np.array_equal(found.original, right.original)


@pytest.mark.parametrize("kind", ["mp3", "wav"])
@pytest.mark.parametrize("name", AFTER)
def test_junk_behind_the_sound_changes_nothing(tmp_path: Path, spoken: Any, name: str, kind: str) -> None:
    plain = mp3(spoken, RATE) if kind == "mp3" else encoded(spoken, RATE, "wav", "pcm_s16le")
    path = tmp_path / "sound"
    path.write_bytes(plain)
    right = load_speech(path, 300)
    path.write_bytes(plain + AFTER[name])
    found = load_speech(path, 300)
    assert found.seconds == pytest.approx(2, abs=0.05)
    assert np.array_equal(found.original[: RATE * 19 // 10], right.original[: RATE * 19 // 10])


def mp4(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mp42isom" + bytes(200)


def written(container: str, codec: str, rate: int = 48_000) -> bytes:
    return encoded(0.1 * np.sin(np.arange(rate) / 9), rate, container, codec, b="96000")


def forms(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(8000) / 9), 16000, format=kind)
    return buffer.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "WebM": (written("webm", "libopus"), "a WebM file (Opus)"),
    "Matroska": (written("matroska", "libopus"), "an MKV file (Opus)"),
    "M4A": (mp4(b"M4A "), "an M4A file"),
    "MP4": (mp4(b"isom"), "an MP4 file"),
    "QuickTime": (mp4(b"qt  "), "a QuickTime film"),
    "3GP": (mp4(b"3gp4"), "a 3GP file"),
    "HEIC": (mp4(b"heic"), "HEIC"),
    "FLAC": (forms("FLAC"), "a FLAC file"),
    "Vorbis": (forms("OGG"), "an OGG file (Vorbis)"),
    "Opus": (written("ogg", "libopus"), "an OGG file (Opus)"),
    "AIFF": (forms("AIFF"), "an AIFF file"),
    "CAF": (forms("CAF"), "a CAF file"),
    "AU": (forms("AU"), "an AU file"),
    "W64": (forms("W64"), "a W64 file"),
    "VOC": (forms("VOC"), "a VOC file"),
    "AMR": (b"#!AMR\n" + bytes(100), "an AMR file"),
    "AMR-WB": (b"#!AMR-WB\n" + bytes(100), "an AMR-WB file"),
    "WMA": (written("asf", "wmav2", 44_100), "a WMA or WMV file"),
    "layer II": (written("mp2", "mp2"), "layer II"),
    "layer II after a tag": (id3(100) + written("mp2", "mp2"), "layer II"),
    "AAC": (written("adts", "aac"), "raw AAC"),
    "AAC after a tag": (id3(100) + written("adts", "aac"), "raw AAC"),
    "AC-3": (written("ac3", "ac3"), "raw AC-3"),
    "MPEG-TS": (written("mpegts", "aac"), "an MPEG transport stream"),
    "AVI": (written("avi", "ac3"), "an AVI video"),
    "FLV": (written("flv", "aac"), "an FLV video"),
    "MIDI": (b"MThd\0\0\0\6\0\1\0\1\0\x60", "a MIDI file"),
    "SILK": (b"\2#!SILK_V3" + bytes(50), "a SILK file"),
    "HTML": (b"\n<!DOCTYPE html><html></html>", "an HTML page"),
    "HTML in UTF-16": ("\ufeff<html></html>".encode("utf-16-le"), "an HTML page"),
    "JSON": (b'{"detail": "quota"}', "JSON"),
    "text": (("Gr\u00fc\u00dfe " * 2000).encode(), "text"),
    "a playlist": (b"#EXTM3U\nspeech.mp3\n", "a playlist"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG picture"),
    "PDF": (b"%PDF-1.7\n", "a PDF document"),
    "ZIP": (b"PK\x03\x04" + bytes(50), "a ZIP archive"),
    "nothing": (b"", "empty"),
    "zeros": (bytes(5000), "nothing but tags and zeros"),
    "a tag": (id3(3000), "nothing but tags and zeros"),
    "noise": (NOISE, "none of the kinds known here"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_kinds_are_named(name: str) -> None:
    data, expected = FOREIGN[name]
    with pytest.raises(InvalidAudio) as refusal:
        find_sound(io.BytesIO(data))
    assert str(refusal.value) == "Invalid audio file type. Allowed types: ['audio/wav', 'audio/mpeg']"
    assert expected in str(refusal.value.detail)


def test_a_step_to_a_wav_is_said() -> None:
    with pytest.raises(InvalidAudio) as refusal:
        find_sound(io.BytesIO(FOREIGN["WebM"][0]))
    assert refusal.value.detail == (
        "The file is a WebM file (Opus). Make a WAV of it: ffmpeg -i recording.webm recording.wav"
    )
