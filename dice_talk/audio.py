"""Reading speech: FFmpeg decodes any WAV or MP3 to its end, as samples in [-1, 1]."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from dice_talk.audio_start import Start, find_sound, unsupported_type
from dice_talk.channels import Samples, downmix, to_mono
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidAudio
from dice_talk.kinds import Family, Kind, Step

__all__ = ["SAMPLE_RATE", "Recording", "Samples", "Speech", "describe", "load_speech"]

SAMPLE_RATE = 16_000
"""Hz; the rate that speech models (Whisper, pocketsphinx) expect."""
DECODERS = frozenset(
    (
        *("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"),
        *("pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "gsm_ms"),
        *("mp3float", "mp3"),
    )
)
"""The FFmpeg decoders that may be used. No other decoder gets to see the data."""
_ALLOWED_RATES = (4_000, 384_000)
_MAX_CHANNELS = 16
_KEPT_RATE = 48_000
"""Hz; the rate of the video's sound. Higher rates are resampled to save memory."""
_USED_S = 300
"""Seconds of a recording that are used at most. Equals `options.MAX_DURATION_S`, whose import would load pydantic; a
test compares the two.
"""
_COUNTED_S = 4 * 3600
"""Seconds up to which the length of the undecoded rest is measured. The exact length of longer recordings is never
needed.
"""
_OPTIONS: dict[str, dict[str, str]] = {
    "mp3": {},
    "wav": {"max_size": "65536", "max_probe_packets": "0", "probesize": "4096"},
}
"""Options for FFmpeg. They make it read WAVs in larger packets, and keep it from searching the samples for other
formats.
"""
_BIG_ENDIAN_SHIFTS = {"pcm_s16le": 0, "pcm_s24le": 8, "pcm_s32le": 0, "pcm_f32le": 0, "pcm_f64le": 0}
"""Bits by which samples of a big-endian WAV (RIFX) are shifted after swapping their bytes, because FFmpeg decodes them
as little-endian ones.
"""
_FRAMES_AT_ONCE = 256
_EMPTY = ErrorCode.AUDIO_EMPTY, "The audio is empty", "Send a recording with at least one sample of sound."
_DAMAGED = (
    ErrorCode.AUDIO_DAMAGED,
    "The audio can't be decoded",
    "The file is damaged or incomplete. Send a whole WAV or MP3.",
)
_PLAIN = Step("Make a plain WAV of it: {command}", "ffmpeg -i recording.wav -c:a pcm_s16le plain.wav")


@dataclass(frozen=True)
class Speech:
    """Speech as it was uploaded: `original (n, channels)` at `rate` Hz, which is at most 48 kHz."""

    original: Samples
    rate: int
    places: tuple[str, ...] = ()  # positions of the channels, such as "FL" and "FC", if the file names them

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.original) / self.rate

    @cached_property
    def stereo(self) -> Samples:
        """The sound for the video: `(n, 1)` or `(n, 2)` at `rate` Hz."""
        return downmix(self.original, self.places)

    @cached_property
    def samples(self) -> Samples:
        """The sound for speech models: `(m,)` at 16 kHz, mixed so that no channel cancels another. Never empty."""
        resampled: Samples = soxr.resample(self.original, self.rate, SAMPLE_RATE, quality="HQ")
        return to_mono(resampled if len(resampled) else self.original[:1])


@dataclass(frozen=True)
class Recording:
    """Properties of an audio file."""

    seconds: float  # total length, including any part that is never used
    rate: int  # Hz
    channels: int


def load_speech(path: Path, max_seconds: float) -> Speech:
    """Return the first `max_seconds` of a WAV or MP3 file. Raises `InvalidAudio`.

    Decodes frame by frame, so an hour of silence in a small file costs no more than `max_seconds` of it.
    """
    with _opened(path) as (container, stream, start):
        shift = _BIG_ENDIAN_SHIFTS.get(stream.codec_context.name) if start.big_endian else None
        pieces = _Pieces(min(stream.rate, _KEPT_RATE), shift)
        for frame in _frames(container, stream):
            pieces.add(frame)
            if pieces.seconds >= max_seconds:
                break
    sound = pieces.joined()[: round(max_seconds * pieces.rate)]
    if not len(sound):
        raise InvalidAudio(*_EMPTY)
    return Speech(sound, pieces.rate, pieces.places)


def describe(path: Path) -> Recording:
    """Decode the usable part of a WAV or MP3 file and measure the rest. Raises `InvalidAudio`."""
    with _opened(path) as (container, stream, _):
        seconds, rate, channels = 0.0, stream.rate, stream.channels
        for frame in _frames(container, stream):
            seconds, channels = seconds + frame.samples / frame.sample_rate, max(channels, len(frame.layout.channels))
            if seconds >= _USED_S:
                break
        for packet in _packets(container, stream):
            seconds += float((packet.duration or 0) * (packet.time_base or 0))
            if seconds >= _COUNTED_S:
                break
        return Recording(seconds, rate, channels)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream, Start]]:
    """Open a WAV or MP3 file and check its rate and channels. Translates FFmpeg's errors within the block."""
    with path.open("rb") as file:
        start = find_sound(file)
        options = {
            "protocol_whitelist": "",
            "codec_whitelist": ",".join(DECODERS),
            "skip_initial_bytes": str(start.position),
        }
        options |= _OPTIONS[start.kind] | ({"ignore_length": "1"} if start.endless else {})
        file.seek(0)
        try:
            with av.open(file, "r", format=start.kind, options=options) as container:
                yield container, _checked(container), start
        except av.FFmpegError as error:
            raise InvalidAudio(*_DAMAGED) from error


def _checked(container: InputContainer) -> AudioStream:
    """Return the audio stream of a file after checking it, before anything is decoded."""
    if not container.streams.audio:
        raise InvalidAudio(*_DAMAGED)
    stream = container.streams.audio[0]
    codec = stream.codec_context.codec if stream.codec_context else None
    if codec is None or codec.name not in DECODERS:
        held = codec.long_name if codec else "an unknown codec"
        raise unsupported_type(Kind("wav_codec", f"a WAV that holds {held}", Family.SOUND, step=_PLAIN))
    _check_format(stream)
    return stream


def _check_format(stream: AudioStream) -> None:
    if not _ALLOWED_RATES[0] <= stream.rate <= _ALLOWED_RATES[1]:
        raise InvalidAudio(
            ErrorCode.AUDIO_SAMPLE_RATE,
            "The audio's sample rate of {rate} Hz is out of range",
            "Allowed: {low} to {high} Hz.",
            rate=stream.rate,
            low=_ALLOWED_RATES[0],
            high=_ALLOWED_RATES[1],
        )
    if stream.channels > _MAX_CHANNELS:
        raise InvalidAudio(
            ErrorCode.AUDIO_CHANNELS,
            "The audio has {channels} channels",
            "At most {most} are allowed.",
            channels=stream.channels,
            most=_MAX_CHANNELS,
        )


def _packets(container: InputContainer, stream: AudioStream) -> Iterator["Packet[AudioStream]"]:
    """Yield packets up to the end, or up to the first one that cannot be read."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Yield all frames that can be decoded. Raises `InvalidAudio` if there is data but none of it can be decoded."""
    decoded = failed = False
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            failed = True
            continue
        decoded = decoded or bool(frames)
        yield from frames
    if failed and not decoded:
        raise InvalidAudio(*_DAMAGED)


class _Pieces:
    """Collects frames of any rate as sound of one rate. Files that were joined change rate and channels on the way."""

    def __init__(self, rate: int, shift: int | None) -> None:
        """`shift`: a value of `_BIG_ENDIAN_SHIFTS`, or None if the samples are right as they are."""
        self.rate, self.seconds, self._shift = rate, 0.0, shift
        self.places: tuple[str, ...] = ()
        self._shape = 0, 0  # Hz and channels of the input
        self._waiting: list[NDArray[Any]] = []
        self._stream: soxr.ResampleStream | None = None
        self._done: list[Samples] = []

    def add(self, frame: AudioFrame) -> None:
        sound: NDArray[Any] = frame.to_ndarray()
        sound = sound.T if frame.format.is_planar else sound.reshape(frame.samples, -1)
        if self._shift is not None:
            sound = sound.byteswap()
            sound = sound << self._shift if self._shift else sound
        rate = frame.sample_rate
        if self._shape != (rate, sound.shape[1]):
            self._convert(last=True)
            self._shape = rate, sound.shape[1]
            self.places = tuple(channel.name for channel in frame.layout.channels)
            same = rate == self.rate
            self._stream = None if same else soxr.ResampleStream(rate, self.rate, self._shape[1], "float32", "HQ")
        self._waiting.append(sound)
        self.seconds += len(sound) / rate
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._convert()

    def _convert(self, last: bool = False) -> None:
        """Convert all waiting frames in one go: MP3 frames are too short to be worth a call each."""
        sound = _floats(np.concatenate(self._waiting)) if self._waiting else np.zeros((0, self._shape[1]), np.float32)
        self._waiting.clear()
        self._done.append(self._stream.resample_chunk(sound, last) if self._stream else sound)

    def joined(self) -> Samples:
        """Return `(n, channels)` in [-1, 1]. Mono parts go to all channels, as loud as FFmpeg makes them."""
        self._convert(last=True)
        done = [piece for piece in self._done if len(piece)]
        channels = max((piece.shape[1] for piece in done), default=1)
        gain = np.float32(1 if done and done[0].shape[1] == 1 else 0.5**0.5)
        alike = [piece if piece.shape[1] == channels else np.repeat(gain * piece, channels, axis=1) for piece in done]
        sound = np.concatenate(alike) if alike else np.zeros((0, channels), np.float32)
        return np.clip(sound, -1, 1, out=sound)


def _floats(sound: NDArray[Any]) -> Samples:
    """Scale samples to [-1, 1]. In float files, NaN becomes silence and infinity becomes full scale."""
    if np.issubdtype(sound.dtype, np.floating):
        finite: Samples = np.nan_to_num(sound, posinf=1, neginf=-1).astype(np.float32, copy=False)
        return finite
    limits = np.iinfo(sound.dtype)
    middle = 0 if limits.min else np.float32(128)
    return (sound.astype(np.float32) - middle) / np.float32(2 ** (limits.bits - 1))
