from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.errors import Cancelled
from dice_talk.lite.engine import LiteEngine
from dice_talk.options import RenderOptions
from dice_talk.video import verify
from tests.encode import decode

Render = Callable[..., tuple[RenderResult, Path]]


def nothing(progress: Progress) -> None:
    pass


@pytest.fixture
def render(engine: LiteEngine, portrait: Path, speech: Path, tmp_path: Path) -> Render:
    def run(
        name: str = "a", image: Path = portrait, audio: Path = speech, report: Any = nothing, **options: Any
    ) -> tuple[RenderResult, Path]:
        output = tmp_path / f"{name}.mp4"
        chosen = {"emotion": "happy", "seed": 3, "duration": 1.0, "min_resolution": 128} | options
        return engine.render(RenderJob(image, audio, output, RenderOptions(**chosen)), report), output

    return run


def test_the_face_moves(render: Render) -> None:
    frames = decode(render()[1]).astype(int)
    assert np.abs(frames[-1] - frames[0]).max() > 40


def test_progress_names_its_stages_and_counts_frames(render: Render) -> None:
    seen: list[Progress] = []
    render(report=seen.append)
    assert list(dict.fromkeys(progress.stage for progress in seen)) == ["prepare", "listen", "render"]
    assert seen[-1].step == seen[-1].steps == 24


@pytest.mark.parametrize("stage", ["prepare", "listen", "render"])
def test_cancelling_stops_at_once_and_leaves_no_file_open(render: Render, tmp_path: Path, stage: str) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        render(report=stop)
    for left in tmp_path.glob("*.mp4"):
        left.rename(tmp_path / "moved")
    result, video = render("again", duration=0.2)  # the engine is as good as new
    verify(video, result)


def test_lips_follow_the_sound(render: Render, speech: Path) -> None:
    from dice_talk.audio import load_speech
    from dice_talk.measure import correlation, loudness_per_frame, track_face

    result, video = render(crop=True, min_resolution=256, duration=4.0, fps=25, emotion="neutral")
    seen = track_face(video)
    r, lag = correlation(seen.gap, loudness_per_frame(load_speech(speech, 4).samples, 25, result.frames))
    assert seen.found == 1
    assert r >= 0.7 and abs(lag) <= 1


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("length", [1, 2, 10, 100, 410, 1000])
def test_the_shortest_sound_makes_a_video(render: Render, tmp_path: Path, rate: int, length: int) -> None:
    audio = tmp_path / "short.wav"
    soundfile.write(audio, 0.3 * np.sin(np.arange(length) / 5), rate)
    result, video = render(audio=audio, duration=0.1)
    assert result.frames == max(1, round(min(length / rate, 0.1) * 24))
    verify(video, result)


def test_stereo_stays_stereo_and_the_mouth_follows_either_channel(render: Render, speech: Path, tmp_path: Path) -> None:
    spoken, rate = soundfile.read(speech, frames=24_000 * 2)
    audio, pictures = tmp_path / "stereo.wav", []
    for name, channels in {
        "mono": [spoken],
        "antiphase": [spoken, -spoken],
        "right": [0 * spoken, spoken],
        "centre": [0 * spoken, 0 * spoken, spoken, 0 * spoken, 0 * spoken, 0 * spoken],
    }.items():
        soundfile.write(audio, np.stack(channels, 1), rate)
        result, video = render(name, audio=audio, duration=2.0)
        verify(video, result)
        pictures.append(decode(video))
        with av.open(str(video)) as container:
            assert container.streams.audio[0].channels == min(2, len(channels))
            heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        if name == "right":
            assert np.abs(heard[0]).max() < 0.01 < np.abs(heard[1]).max()
        if name == "antiphase":
            assert np.corrcoef(heard)[0, 1] < -0.99
    for other in pictures[1:]:
        assert np.abs(other.astype(int) - pictures[0]).mean() < 0.5
