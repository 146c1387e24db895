import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from dice_talk import audio, options
from dice_talk.audio import SAMPLE_RATE, describe, load_speech
from dice_talk.errors import InvalidAudio
from tests.encode import encoded, mp3


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


def test_channels_stay_what_they_are(tmp_path: Path) -> None:
    sound = np.stack([tone(0.5, 16000), -tone(0.5, 16000)], axis=1)
    read = load_speech(write(tmp_path, sound, 16000, subtype="FLOAT"), 300)
    assert read.original == pytest.approx(sound, abs=1e-6)
    assert read.stereo is read.original
    assert read.samples == pytest.approx(sound[:, 0], abs=1e-4)


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


RATE = 24_000
SPOKEN_S = 4.0


@pytest.fixture(scope="module")
def spoken(speech: Path) -> Any:
    """Four seconds at 24 kHz."""
    return soundfile.read(speech, dtype="float32")[0][: round(SPOKEN_S * RATE)]


def read(folder: Path, data: bytes) -> Any:
    path = folder / "sound"
    path.write_bytes(data)
    found = load_speech(path, 300)
    assert describe(path).seconds == pytest.approx(found.seconds, abs=1e-3)
    return found


def level(sound: Any) -> float:
    return float(10 * np.log10(np.mean(np.square(sound, dtype=float))))


def test_an_mp3_that_says_nothing_of_its_length(tmp_path: Path, spoken: Any) -> None:
    """The bit rate varies: the length that the first frame suggests is far from the truth."""
    found = read(tmp_path, mp3(spoken, RATE, write_xing="0", global_quality=str(118 * 4), flags="+qscale"))
    assert found.seconds == pytest.approx(
        SPOKEN_S, abs=0.1
    )  # the encoder's padding belongs to it: nothing says that it is
    assert level(found.original) == pytest.approx(level(spoken), abs=0.3)


@pytest.mark.parametrize("xing", ["0", "1"])
@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (24_000, 2), (16_000, 1), (44_100, 2)])
def test_joined_mp3s_are_read_to_their_end(tmp_path: Path, spoken: Any, rate: int, channels: int, xing: str) -> None:
    """As text-to-speech servers send them, also of different rates and channels; they get those of the first."""
    second = soxr.resample(spoken, RATE, rate)
    files = mp3(spoken, RATE, write_xing=xing), mp3(np.stack([second] * channels, 1), rate, write_xing=xing)
    for one, other in (files, files[::-1]):
        found = read(tmp_path, one + other)
        assert found.rate == (RATE if one is files[0] else rate)
        assert found.seconds == pytest.approx(2 * SPOKEN_S, abs=0.2)  # padding in the middle
        assert found.original.shape[1] == channels
        ends = found.original[-round(found.rate * 2.5) :].mean(axis=1)
        assert level(ends) == pytest.approx(
            level(spoken[-round(RATE * 2.5) :]), abs=4
        )  # where it is not the first, mono is 3 dB quieter


@pytest.mark.parametrize("frames", [0, 3, 10_000, 2**32 - 1])
def test_a_wrong_count_of_frames_means_nothing(tmp_path: Path, spoken: Any, frames: int) -> None:
    data = bytearray(mp3(spoken, RATE))
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    data[at : at + 4] = struct.pack(">I", frames)
    assert read(tmp_path, bytes(data)).seconds == pytest.approx(SPOKEN_S, abs=0.05)


SOUND = (np.arange(16_000) * 7919 % 20_001 - 10_000).astype("<i2")
DS64 = struct.Struct("<4sIQQQI")


def wide(name: bytes, size: int) -> bytes:
    """An RF64 or BW64 that claims so many bytes of sound."""
    head = struct.pack("<4sI4s", name, 0xFFFFFFFF, b"WAVE") + DS64.pack(b"ds64", 28, size + 72, size, size // 2, 0)
    return head + header()[12:36] + b"data\xff\xff\xff\xff"


def big_endian(tag: int, bits: int) -> bytes:
    """The header of a RIFX of a second."""
    size = 16_000 * bits // 8
    form = struct.pack(">4sIHHIIHH", b"fmt ", 16, tag, 1, 16_000, size, bits // 8, bits)
    return b"RIFX" + struct.pack(">I", size + 36) + b"WAVE" + form + b"data" + struct.pack(">I", size)


@pytest.mark.parametrize(
    ("head", "sound"),
    [
        (header(size=0), SOUND),
        (header(size=32000), SOUND),
        (header(size=32000)[:4] + bytes(4) + header(size=32000)[8:], SOUND),
        (header(size=40_000), SOUND),
        (header(size=0x7FFFFFFF), SOUND),
        (header(size=0xFFFFFFFF), SOUND),
        *((wide(name, size), SOUND) for name in (b"RF64", b"BW64") for size in (0, 32000, 1 << 40)),
        (big_endian(1, 16), SOUND.astype(">i2")),
        (big_endian(1, 24), (SOUND.astype(">i4") << 16).astype(">i4").view("u1").reshape(-1, 4)[:, :3]),
        (big_endian(1, 32), (SOUND.astype(">i4") << 16).astype(">i4")),
        (big_endian(3, 32), (SOUND / 2**15).astype(">f4")),
        (big_endian(3, 64), (SOUND / 2**15).astype(">f8")),
    ],
)
def test_no_sample_of_a_wav_is_lost(tmp_path: Path, head: bytes, sound: Any) -> None:
    found = read(tmp_path, head + sound.tobytes())
    assert np.array_equal(found.original[:, 0], SOUND / np.float32(2**15))


@pytest.mark.parametrize("kind", ["MP3", "WAV"])
def test_what_has_arrived_of_a_recording_is_read(tmp_path: Path, spoken: Any, kind: str) -> None:
    whole = mp3(spoken, RATE, b="64k") if kind == "MP3" else encoded(spoken, RATE, "wav", "pcm_s16le")
    for share in (0.25, 0.5, 0.75):
        found = read(tmp_path, whole[: int(len(whole) * share)])
        assert found.seconds == pytest.approx(share * SPOKEN_S, abs=0.15)


@pytest.mark.parametrize(
    "codec", ["pcm_u8", "pcm_s24le", "pcm_f64le", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "libmp3lame"]
)
def test_codecs_inside_a_wav(tmp_path: Path, spoken: Any, codec: str) -> None:
    found = read(tmp_path, encoded(spoken, RATE, "wav", codec))
    assert found.seconds == pytest.approx(SPOKEN_S, abs=0.1)
    assert level(found.original) == pytest.approx(level(spoken), abs=1)


@pytest.mark.parametrize(
    ("codec", "name"), [("aac", "AAC"), ("mp2", "MP2"), ("wmav2", "Windows Media"), ("ac3", "AC-3")]
)
def test_codecs_that_are_out_of_reach(tmp_path: Path, spoken: Any, codec: str, name: str) -> None:
    with pytest.raises(InvalidAudio, match="Invalid audio file type") as refusal:
        read(tmp_path, encoded(soxr.resample(spoken, RATE, 32000), 32000, "wav", codec, b="96000"))
    assert name in str(refusal.value.detail)
    assert "ffmpeg -i" in str(refusal.value.detail)


def test_more_than_48_khz_is_not_kept(tmp_path: Path) -> None:
    found = read(tmp_path, Path(write(tmp_path, tone(0.5, 96000), 96000)).read_bytes())
    assert (found.rate, found.seconds) == (48_000, 0.5)
    assert describe(tmp_path / "sound").rate == 96_000
    assert found.original[1000:-1000, 0] == pytest.approx(tone(0.5, 48000)[1000:-1000], abs=1e-3)


def test_the_length_beyond_what_is_decoded_is_counted(tmp_path: Path) -> None:
    minute = mp3(np.zeros(8000 * 60), 8000, b="8k", write_xing="0")
    path = tmp_path / "sound"
    path.write_bytes(minute * 10)
    assert describe(path).seconds == pytest.approx(600, abs=3)
    assert load_speech(path, 300).seconds == 300


def test_a_recording_is_looked_at_as_far_as_a_video_may_use_it() -> None:
    """`audio` does not import `options`: pydantic would make each inspection slower."""
    assert audio._USED_S == options.MAX_DURATION_S
