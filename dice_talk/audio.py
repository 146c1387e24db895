"""Reading speech: any WAV or MP3 becomes mono samples in [-1, 1]."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from dice_talk.errors import InvalidAudio

SAMPLE_RATE = 16_000
"""Hz; what speech models (Whisper, pocketsphinx) listen at."""
WRONG_TYPE = "Invalid audio file type. Allowed types: ['audio/wav', 'audio/mpeg']"
FORMATS = ("WAV", "WAVEX", "RF64", "MP3")
_ALLOWED_RATES = (4_000, 384_000)
_MAX_CHANNELS = 16
_BLOCK_S = 10

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Speech:
    """Mono speech: `original` at `rate` Hz for the finished video, `samples` at 16 kHz for listening."""

    original: Samples
    rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.original) / self.rate

    @cached_property
    def samples(self) -> Samples:
        """The same at 16 kHz."""
        resampled: Samples = soxr.resample(self.original, self.rate, SAMPLE_RATE, quality="HQ")
        return resampled


@dataclass(frozen=True)
class Recording:
    """What an audio file says of itself."""

    seconds: float  # in all, also beyond what is ever read
    rate: int  # Hz
    channels: int


def describe(path: Path) -> Recording:
    """Of a WAV or MP3 file, decoding nothing. Raises `InvalidAudio`."""
    with _opened(path) as file:
        return Recording(file.frames / file.samplerate, file.samplerate, file.channels)


def load_speech(path: Path, max_seconds: float) -> Speech:
    """First `max_seconds` of a WAV or MP3 file, channels averaged. Raises `InvalidAudio`.

    Reads block by block, so an hour of silence in a small file costs no more than `max_seconds` of it.
    """
    with _opened(path) as file:
        rate = file.samplerate
        wanted = round(max_seconds * rate)
        blocks: list[Samples] = []
        while wanted > 0:
            block = file.read(min(wanted, _BLOCK_S * rate), dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(_clean(block.mean(axis=1, dtype=np.float32)))
            wanted -= len(block)
    if not blocks:
        raise InvalidAudio("The audio is empty", "Send a recording with at least one sample of sound.")
    original = np.concatenate(blocks)
    return Speech(original, rate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """A WAV or MP3 file of a rate and a number of channels that are taken; any error while it is open is explained."""
    _check_type(path)
    try:
        with soundfile.SoundFile(path) as file:
            if file.format not in FORMATS:
                raise InvalidAudio(WRONG_TYPE)
            _check_shape(file.samplerate, file.channels)
            yield file
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InvalidAudio(
            "The audio can't be decoded", "The file is damaged or incomplete. Send a whole WAV or MP3."
        ) from error


def _clean(samples: Samples) -> Samples:
    """Within [-1, 1], whatever a file of floats holds."""
    return np.clip(np.nan_to_num(samples, posinf=1, neginf=-1), -1, 1).astype(np.float32)


def _check_type(path: Path) -> None:
    """Told by the first bytes, so that no other of libsndfile's many readers is ever reached."""
    with path.open("rb") as file:
        head = file.read(12)
        while head[:3] == b"ID3" and len(head) == 12:  # a tag; what comes after it counts
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            file.seek(10 + size - len(head), os.SEEK_CUR)
            head = file.read(12)
    is_wav = head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE"
    # An MPEG frame's eleven sync bits with the layer bits that mean layer III.
    is_mp3 = head[:1] == b"\xff" and len(head) > 1 and head[1] & 0b1110_0110 == 0b1110_0010
    if not (is_wav or is_mp3):
        raise InvalidAudio(WRONG_TYPE)


def _check_shape(rate: int, channels: int) -> None:
    if not _ALLOWED_RATES[0] <= rate <= _ALLOWED_RATES[1]:
        raise InvalidAudio(
            f"The audio's sample rate of {rate} Hz is out of range",
            f"Allowed: {_ALLOWED_RATES[0]} to {_ALLOWED_RATES[1]} Hz.",
        )
    if channels > _MAX_CHANNELS:
        raise InvalidAudio(f"The audio has {channels} channels", f"At most {_MAX_CHANNELS} are allowed.")
