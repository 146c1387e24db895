from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.errors import Cancelled
from dice_talk.lite.engine import LiteEngine
from dice_talk.options import RenderOptions
from dice_talk.video import verify

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


def decode(video: Path) -> np.ndarray:
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


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
    from dice_talk.measure import correlation, look, loudness_per_frame

    result, video = render(crop=True, min_resolution=256, duration=4.0, fps=25, emotion="neutral")
    seen = look(video)
    r, lag = correlation(seen.gap, loudness_per_frame(load_speech(speech, 4).samples, 25, result.frames))
    assert seen.found == 1
    assert r >= 0.7 and abs(lag) <= 1
