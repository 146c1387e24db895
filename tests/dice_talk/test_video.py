from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr

from dice_talk import __version__
from dice_talk.audio import Samples, Speech, load_speech
from dice_talk.engine import RenderResult
from dice_talk.errors import RenderFailed
from dice_talk.video import AUDIO_RATE, VideoWriter, frame_count, probe, verify


def write(path: Path, fps: int, seconds: float, sound: Samples, rate: int, size: tuple[int, int] = (128, 64)) -> int:
    frames = frame_count(seconds, fps)
    width, height = size
    with VideoWriter(
        path,
        width=width,
        height=height,
        fps=fps,
        frames=frames,
        sound=sound.reshape(len(sound), -1),
        rate=rate,
        metadata={"seed": 3},
    ) as writer:
        for number in range(frames):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[:, : width * (number + 1) // frames] = (200, 100, 50)
            writer.write(picture)
    return frames


@pytest.mark.parametrize("fps", [8, 24, 25, 30, 60])
@pytest.mark.parametrize("seconds", [0.02, 1.0, 3.31])
def test_what_was_promised_is_there(tmp_path: Path, fps: int, seconds: float) -> None:
    path = tmp_path / "result.part"
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 22050)).astype(np.float32)
    frames = write(path, fps, seconds, sound, 22050)
    info = probe(path)
    assert (info.video_codec, info.audio_codec, info.pixel_format) == ("h264", "aac", "yuv420p")
    assert (info.width, info.height, info.fps, info.frames) == (128, 64, Fraction(fps), frames)
    assert (info.video_start, info.faststart) == (0, True)
    assert info.video_seconds == pytest.approx(frames / fps)
    assert abs(info.audio_seconds - info.video_seconds) <= 1 / fps
    assert info.metadata["comment"] == f'{{"seed": 3, "version": "{__version__}"}}'
    verify(path, RenderResult(128, 64, fps, frames, frames / fps))


def time_of(frame: av.AudioFrame | av.VideoFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None
    return frame.pts * frame.time_base


@pytest.mark.parametrize("fps", [8, 30, 47, 59, 60])
@pytest.mark.parametrize("frames", [1, 2, 6, 9, 41])
def test_all_that_can_be_decoded_ends_within_one_frame(tmp_path: Path, fps: int, frames: int) -> None:
    """Also for readers that pay no heed to where the file says the sound ends; every picture has its own time."""
    path = tmp_path / "video.mp4"
    assert write(path, fps, frames / fps, np.full(48000 * 6, 0.1, np.float32), 48000, size=(64, 64)) == frames
    with av.open(str(path)) as container:
        times = [time_of(frame) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        *_, last = container.decode(audio=0)
        end = time_of(last) + Fraction(last.samples, AUDIO_RATE)
    assert times == [Fraction(number, fps) for number in range(frames)]
    assert abs(end - Fraction(frames, fps)) <= Fraction(1, fps)


def test_colours_and_order_survive(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write(path, 10, 1, np.zeros(16000, np.float32), 16000)
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [int((picture[32, :, 0] > 100).sum()) for picture in pictures] == pytest.approx(
        [12, 25, 38, 51, 64, 76, 89, 102, 115, 128], abs=2
    )
    assert pictures[-1].mean(axis=(0, 1)) == pytest.approx([200, 100, 50], abs=4)


def written_and_read(path: Path, speech: Speech) -> Samples:
    """What is heard in a video of `speech`, at 48 kHz."""
    write(path, 24, speech.seconds, speech.original, speech.rate)
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_sound_is_in_time(tmp_path: Path, speech: Path) -> None:
    original = load_speech(speech, 300)
    heard = written_and_read(tmp_path / "video.mp4", original)
    length = AUDIO_RATE * 4
    steps = np.arange(length) * original.rate / AUDIO_RATE
    sent = np.interp(steps, np.arange(len(original.original)), original.original[:, 0])
    lags = np.fft.irfft(np.fft.rfft(heard[:length], 2 * length) * np.conj(np.fft.rfft(sent, 2 * length)))
    lag = int(np.argmax(lags))
    assert min(lag, 2 * length - lag) <= AUDIO_RATE // 1000, "within a millisecond"


def test_sound_stays_what_it_was(tmp_path: Path, speech: Path) -> None:
    original = load_speech(speech, 300)
    heard = written_and_read(tmp_path / "video.mp4", original)
    sent = soxr.resample(original.original[:, 0], original.rate, AUDIO_RATE)
    error = heard[: len(sent)] - sent[: len(heard)]
    assert 10 * np.log10(np.mean(sent**2) / np.mean(error**2)) > 36  # dB


def test_a_file_that_breaks_its_promise_is_found(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    frames = write(path, 24, 1, np.zeros(16000, np.float32), 16000)
    for wrong in (
        RenderResult(256, 64, 24, frames, 1),
        RenderResult(128, 64, 25, frames, 1),
        RenderResult(128, 64, 24, frames + 1, 1),
    ):
        with pytest.raises(RenderFailed, match="not what was promised"):
            verify(path, wrong)
    path.write_bytes(b"nonsense")
    with pytest.raises(RenderFailed, match="not a video"):
        verify(path, RenderResult(128, 64, 24, frames, 1))


def test_frame_count() -> None:
    assert [frame_count(seconds, 24) for seconds in (0.001, 0.1, 1, 9.109)] == [1, 2, 24, 219]
    assert Fraction(frame_count(300, 60), 60) == 300
