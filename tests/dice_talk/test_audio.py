import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dice_talk.audio import SAMPLE_RATE, load_speech
from dice_talk.errors import InvalidAudio


def tone(seconds: float, rate: int) -> Any:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def write(folder: Path, samples: Any, rate: int, kind: str = "WAV", subtype: str | None = None) -> Path:
    path = folder / "sound"
    soundfile.write(path, samples, rate, format=kind, subtype=subtype)
    return path


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_both_rates(tmp_path: Path, rate: int) -> None:
    speech = load_speech(write(tmp_path, tone(1.5, rate), rate), 300)
    assert speech.rate == rate
    assert speech.seconds == pytest.approx(1.5)
    assert len(speech.samples) == pytest.approx(1.5 * SAMPLE_RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(speech.samples))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(speech.samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_wav_subtypes(tmp_path: Path, subtype: str) -> None:
    speech = load_speech(write(tmp_path, tone(0.5, 16000), 16000, subtype=subtype), 300)
    assert np.abs(speech.original).max() == pytest.approx(0.5, abs=0.05)


def test_mp3_with_and_without_a_tag(tmp_path: Path) -> None:
    path = write(tmp_path, tone(2, 44100), 44100, "MP3")
    plain = load_speech(path, 300)
    assert plain.seconds == pytest.approx(2, abs=0.1)
    size = 200_000
    tag = b"ID3\x04\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size)
    path.write_bytes(tag + path.read_bytes())
    assert load_speech(path, 300).seconds == plain.seconds


def test_channels_are_averaged(tmp_path: Path) -> None:
    sound = np.stack([tone(0.5, 16000), -tone(0.5, 16000)], axis=1)
    assert np.abs(load_speech(write(tmp_path, sound, 16000), 300).original).max() < 1e-3


def test_only_so_much_is_read(tmp_path: Path) -> None:
    speech = load_speech(write(tmp_path, np.zeros(16000 * 60), 16000), 12.5)
    assert speech.seconds == 12.5


def test_one_sample_is_enough(tmp_path: Path) -> None:
    assert len(load_speech(write(tmp_path, np.zeros(1), 16000), 300).original) == 1


def test_values_that_are_no_sound_are_tamed(tmp_path: Path) -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 1e30, 0.5], np.float32)
    path = write(tmp_path, np.tile(wild, 100), 16000, subtype="FLOAT")
    assert load_speech(path, 300).original[:5, 0].tolist() == [0, 1, -1, 1, 0.5]


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF", "AU", "W64", "CAF"])
def test_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidAudio, match="Invalid audio file type"):
        load_speech(write(tmp_path, tone(0.2, 16000), 16000, kind), 300)


@pytest.mark.parametrize("kind", ["FLAC", "AIFF", "AU"])
def test_a_tag_before_another_type_does_not_help_it(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, tone(0.2, 16000), 16000, kind)
    path.write_bytes(b"ID3\x04\0\0\0\0\0\0" + path.read_bytes())
    with pytest.raises(InvalidAudio):
        load_speech(path, 300)


def header(channels: int = 1, rate: int = 16000, size: int = 100) -> bytes:
    riff = struct.pack("<4sI4s", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE")
    bytes_per_second = rate * channels * 2 & 0xFFFFFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, bytes_per_second, channels * 2, 16)
    return riff + form + struct.pack("<4sI", b"data", size)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(channels=0) + bytes(100), "can't be decoded"),
        (header(rate=0) + bytes(100), "can't be decoded|out of range"),
        (header(rate=1_000_000_000) + bytes(100), "out of range"),
        (header(rate=100) + bytes(100), "out of range"),
        (header(channels=64) + bytes(12800), "64 channels"),
        (header(size=0), "empty"),
        (header()[:30], "can't be decoded"),
        (b"RIFF", "Invalid audio file type"),
        (b"", "Invalid audio file type"),
        (b"ID3" + bytes(50), "Invalid audio file type"),
        (b"\xff\xfb" + bytes(50), "can't be decoded|empty"),
    ],
)
def test_absurd_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "sound"
    path.write_bytes(data)
    with pytest.raises(InvalidAudio, match=message):
        load_speech(path, 300)


def test_a_length_that_lies_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    path.write_bytes(header(size=0xFFFFFFF0) + bytes(32000))
    assert load_speech(path, 300).seconds == pytest.approx(1.0)
