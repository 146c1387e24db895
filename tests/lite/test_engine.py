from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.errors import Cancelled, NoFaceFound
from dice_talk.lite.engine import LiteEngine
from dice_talk.options import RenderOptions
from dice_talk.video import probe, verify

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


def test_makes_the_video_it_promises(render: Render) -> None:
    result, video = render(fps=24)
    assert (result.fps, result.frames, result.seconds) == (24, 24, 1.0)
    verify(video, result)
    comment = probe(video).metadata["comment"]
    assert '"engine": "lite"' in comment and '"seed": 3' in comment and '"emotion": "happy"' in comment
    assert "inference_steps" in comment


def test_the_same_seed_gives_the_same_frames_and_another_does_not(render: Render) -> None:
    (_, a), (_, b), (_, c) = render("a"), render("b"), render("c", seed=4)
    assert np.array_equal(decode(a), decode(b))
    assert not np.array_equal(decode(a), decode(c))


def test_the_face_moves(render: Render) -> None:
    frames = decode(render()[1]).astype(int)
    assert np.abs(frames[-1] - frames[0]).max() > 40


@pytest.mark.parametrize(("fps", "frames"), [(8, 8), (60, 60)])
def test_any_frame_rate(render: Render, fps: int, frames: int) -> None:
    assert render(fps=fps)[0].frames == frames


def test_the_shortest_sound_makes_one_frame(render: Render, tmp_path: Path) -> None:
    click = tmp_path / "click.wav"
    soundfile.write(click, np.full(800, 0.1), 16_000)
    result, video = render(audio=click, duration=None, fps=24)
    assert result.frames == 1
    verify(video, result)


def test_a_picture_that_is_not_square_keeps_its_shape(render: Render, portrait: Path, tmp_path: Path) -> None:
    tall = tmp_path / "tall.png"
    with Image.open(portrait) as image:
        image.crop((image.width // 8, 0, image.width * 7 // 8, image.height)).save(tall)
    result, video = render(image=tall, min_resolution=192, duration=0.2)
    assert result.height > result.width == 192
    verify(video, result)


def test_crop_makes_it_square(render: Render, portrait: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    with Image.open(portrait) as image:
        Image.new("RGB", (image.width * 2, image.height)).save(wide)
        both = Image.new("RGB", (image.width * 2, image.height), "grey")
        both.paste(image, (image.width, 0))
        both.save(wide)
    result, _ = render(image=wide, crop=True, duration=0.2)
    assert result.width == result.height == 128


def test_no_face_fails_with_what_to_try(render: Render, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (300, 300), "teal").save(plain)
    with pytest.raises(NoFaceFound, match="No face") as failure:
        render(image=plain)
    assert failure.value.detail and "Use a sharp" in failure.value.detail


def test_progress_never_goes_back_and_ends_whole(render: Render) -> None:
    seen: list[Progress] = []
    render(report=seen.append)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert [progress.stage for progress in seen][:1] == ["prepare"]
    assert {progress.stage for progress in seen} == {"prepare", "listen", "render"}
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
    from benchmarks.measure import correlation, look, loudness_per_frame
    from dice_talk.audio import load_speech

    result, video = render(crop=True, min_resolution=256, duration=4.0, fps=25, emotion="neutral")
    seen = look(video)
    r, lag = correlation(seen.gap, loudness_per_frame(load_speech(speech, 4).samples, 25, result.frames))
    assert seen.found == 1
    assert r >= 0.7 and abs(lag) <= 1
