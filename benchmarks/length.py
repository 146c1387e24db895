"""Whether length changes anything: memory while a video is made, and how its end differs from its beginning."""

from pathlib import Path

import av
import numpy as np
import psutil
import soundfile
from numpy.typing import NDArray

from dice_talk.audio import load_speech
from dice_talk.engine import Progress, RenderJob
from dice_talk.lite.engine import LiteEngine
from dice_talk.measure import correlation, landmarks, loudness_per_frame
from dice_talk.options import RenderOptions

SECONDS = (1, 30, 300)
_END_S = 10
"""Seconds at each end of a video that are looked at."""
_SHARES = (0.2, 0.6, 1.0)
"""The progress of a render at which memory is printed."""


def print_length(engine: LiteEngine, portrait: Path, speech: Path, folder: Path) -> None:
    """Print one line per length, at the API's defaults; the recording is repeated."""
    print("seconds  MB at 20, 60, 100 %   lips with loudness at the start and the end   end from start, 1/1000 H")
    options = RenderOptions(emotion="neutral", seed=1)
    for seconds in SECONDS:
        sound, video = folder / f"{seconds}s.wav", folder / f"{seconds}s.mp4"
        _repeat(speech, seconds, sound)
        memory = _render(engine, RenderJob(portrait, sound, video, options))
        frames, count = seconds * options.fps, min(_END_S, seconds) * options.fps
        points = _both_ends(video, count, frames)
        loud = loudness_per_frame(load_speech(sound, seconds).samples, options.fps, frames)
        gaps = [np.linalg.norm(part[:, 13] - part[:, 14], axis=1).astype(float) for part in points]
        start, end = (correlation(gap, part)[0] for gap, part in zip(gaps, (loud[:count], loud[-count:]), strict=True))
        nose = [np.nanmean(part[:, 168], axis=0) for part in points]
        height = np.nanmean(np.linalg.norm(points[0][:, 10] - points[0][:, 152], axis=1))
        away = np.linalg.norm(nose[1] - nose[0]) / height * 1000
        told = "  ".join(f"{mb:.0f}" for mb in memory)
        print(f"{seconds:7}  {told:19}  {start:27.2f} {end:15.2f} {away:24.1f}", flush=True)


def _repeat(speech: Path, seconds: int, target: Path) -> None:
    """Repeat the recording for `seconds`, so that the end says the same as the start."""
    samples, rate = soundfile.read(speech, dtype="float32")
    last = min(_END_S, seconds) * rate
    parts = [np.resize(samples, (count, *samples.shape[1:])) for count in (seconds * rate - last, last)]
    soundfile.write(target, np.concatenate(parts), rate)


def _render(engine: LiteEngine, job: RenderJob) -> list[float]:
    """Render a video. Return the megabytes in memory at `_SHARES` of the progress."""
    seen: list[tuple[float, float]] = []

    def report(progress: Progress) -> None:
        seen.append((progress.fraction, psutil.Process().memory_info().rss / 2**20))

    engine.render(job, report)
    fractions, memory = np.array(seen).T
    return [float(memory[np.argmin(np.abs(fractions - share))]) for share in _SHARES]


def _both_ends(video: Path, count: int, frames: int) -> list[NDArray[np.float32]]:
    """Return the landmarks of the first and of the last `count` frames, `(count, 478, 2)` each."""
    ends: list[list[NDArray[np.float32]]] = [[], []]
    with av.open(str(video)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i < count or i >= frames - count:
                seen = landmarks(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
                if i < count:
                    ends[0].append(seen)
                if i >= frames - count:
                    ends[1].append(seen)
    return [np.stack(end) for end in ends]
