"""Measures the lite engine on portraits and recordings, and draws the contact sheet of the eight emotions.

    python -m benchmarks.lite --portraits a.png b.jpg --speech x.wav y.wav --out benchmarks/out

A recording with a transcript beside it (x.txt, English words) is also judged at the p, b and m that forced alignment
finds, not only at those that the engine heard.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.align import bilabials
from benchmarks.emotions import emotion_shifts, print_emotions
from benchmarks.length import print_length
from benchmarks.measure import blinks_seen, gaps_at, psnr
from benchmarks.sheet import contact_sheet
from benchmarks.speed import measure_speed
from dice_talk.audio import load_speech
from dice_talk.engine import RenderJob
from dice_talk.lite.engine import LiteEngine, listen, prepare
from dice_talk.lite.models import load_face_models, person_mask
from dice_talk.lite.performance import perform
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig
from dice_talk.measure import correlation, loudness_per_frame, track_face
from dice_talk.options import RenderOptions
from dice_talk.video import frame_count

FPS, SIZE, SEED = 25, 512, 1
ROUNDS = 11  # of the measurement of speed
EXAMPLES = Path(__file__).parent.parent / "examples"
_MARGIN = 0.05
"""Face heights around the person that the moving head may cover; further away is background."""


@dataclass(frozen=True)
class Figures:
    """The figures of one video. Gaps are in face heights."""

    found: float
    r: float
    lag: int
    unmatched: float
    heard: float  # mean gap at p/b/m as heard by the engine
    heard_max: float
    spoken: float  # at p/b/m as forced alignment finds them; nan without a transcript
    loud_gap: float  # 95th percentile
    blinks: int
    blinks_meant: int
    background: float  # dB


def measure(engine: LiteEngine, portrait: Path, speech: Path, other: Path, folder: Path) -> Figures:
    """Render one video and measure it."""
    options = RenderOptions(emotion="neutral", crop=True, min_resolution=SIZE, fps=FPS, seed=SEED)
    video = folder / f"{portrait.name}-{speech.stem}.mp4"
    engine.render(RenderJob(portrait, speech, video, options), lambda _: None)
    seen = track_face(video)
    sound = load_speech(speech, 300)
    rig = prepare(engine.models, portrait, options)
    meant = perform(rig, listen(sound, lambda _: None), frame_count(sound.seconds, FPS), options)
    r, lag = correlation(seen.gap, loudness_per_frame(sound.samples, FPS, len(seen.gap)))
    stranger = load_speech(other, 300)
    wrong, _ = correlation(seen.gap, loudness_per_frame(stranger.samples, FPS, len(seen.gap)))
    shut = gaps_at(seen.gap, meant.closures, FPS)
    true = gaps_at(seen.gap, bilabials(speech), FPS)
    background = _background(engine, rig)
    films = (psnr(frame, rig.picture, background) for i, frame in enumerate(frames(rig, meant)) if i % 10 == 0)
    eyes_open = not all(eye.still for eye in rig.eyes)
    return Figures(
        found=seen.found,
        r=r,
        lag=lag,
        unmatched=wrong,
        heard=float(np.mean(shut)) if len(shut) else float("nan"),
        heard_max=float(np.max(shut)) if len(shut) else float("nan"),
        spoken=float(np.mean(true)) if len(true) else float("nan"),
        loud_gap=float(np.nanpercentile(seen.gap, 95)),
        blinks=blinks_seen(seen.eyes),
        blinks_meant=len(meant.blinks) if eyes_open else 0,
        background=min(films) if background.any() else float("inf"),
    )


def _background(engine: LiteEngine, rig: Rig) -> NDArray[np.bool_]:
    """Return where pixels lie clear of the person and of the face."""
    person = (person_mask(engine.models, rig.picture) > 0.5).astype(np.uint8)
    face = cv2.transform(rig.canvas.points[None], cv2.invertAffineTransform(rig.canvas.affine))[0]
    cv2.fillConvexPoly(person, cv2.convexHull(face.round().astype(np.int32)), 1)
    height = float(np.linalg.norm(face[10] - face[152]))
    return cv2.distanceTransform(1 - person, cv2.DIST_L2, 5) > _MARGIN * height


def print_figures(engine: LiteEngine, portraits: list[Path], recordings: list[Path], folder: Path) -> None:
    """Print one line per video, as soon as it is measured."""
    print(f"{'portrait / speech':34} faces  r     lag unmatched  p/b/m mean max    spoken loud   blinks  background")
    for portrait in portraits:
        for i, speech in enumerate(recordings):
            f = measure(engine, portrait, speech, recordings[i - 1], folder)
            name = f"{portrait.name} / {speech.stem}"
            print(
                f"{name:34} {f.found:5.1%} {f.r:.2f} {f.lag:+4d} {f.unmatched:9.2f}  {f.heard:.4f} {f.heard_max:.4f} "
                f"{f.spoken:7.4f} {f.loud_gap:.3f}  {f.blinks}/{f.blinks_meant}    {f.background:5.1f} dB",
                flush=True,
            )


def print_speed(portrait: Path, speech: Path) -> None:
    """Print the speed at the API's defaults and at 512 px, as a multiple of real time."""
    settings = {
        "256 px, 24 fps (API defaults)": RenderOptions(emotion="happy", seed=SEED),
        "512 px, 25 fps, crop": RenderOptions(emotion="happy", crop=True, min_resolution=SIZE, fps=FPS, seed=SEED),
    }
    for name, options in settings.items():
        speed = measure_speed(portrait, speech, options, ROUNDS)
        print(
            f"{name:32} one task {speed.one:.1f} x real time, two at once {speed.two:.1f} x: "
            f"{speed.times:.2f} times the throughput"
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", nargs="+", type=Path, default=sorted(EXAMPLES.glob("portrait*")))
    parser.add_argument("--speech", nargs="+", type=Path, default=sorted(EXAMPLES.glob("*.wav")))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--only", choices=("figures", "emotions", "length", "speed", "sheet"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    engine = LiteEngine(load_face_models())
    if args.only in (None, "figures"):
        print_figures(engine, args.portraits, args.speech, args.out)
    if args.only in (None, "emotions"):
        print_emotions(emotion_shifts(engine, args.portraits))
    if args.only in (None, "length"):
        print_length(engine, args.portraits[0], args.speech[0], args.out)
    if args.only in (None, "speed"):
        print_speed(args.portraits[0], args.speech[0])
    if args.only in (None, "sheet"):
        contact_sheet(engine, args.portraits, args.speech[0]).save(args.out / "emotions.jpg", quality=90)
        print(f"Contact sheet: {args.out / 'emotions.jpg'}")


if __name__ == "__main__":
    main()
