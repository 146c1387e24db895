"""Compares a video of the published code with ours: `python -m benchmarks.against_published VIDEO PORTRAIT SPEECH`.

Make VIDEO with the published code, its defaults (512 px, 25 steps, 25 fps, seed 72589, ref_scale 3, emo_scale 6) and
the same portrait, recording and emotion. This renders them with `preset=published` and prints, frame by frame, PSNR and
SSIM; the first frame that differs by more than encoding does; and whether the face moves in the same way. `--ours`
compares with a video that is there already.
"""

import argparse
import secrets
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.emotions import Emotion
from dice_talk.engine import Progress, RenderJob
from dice_talk.engines import ENGINES, load_engine
from dice_talk.image import Pixels
from dice_talk.labels import LabelOptions, Labels
from dice_talk.lite import topology as at
from dice_talk.measure import track_face
from dice_talk.options import Preset, RenderOptions, preset_values

DIFFERS_DB = 30.0
"""PSNR below which a frame differs by more than two encoders at high quality do."""
SAME_DB = 60.0
"""PSNR from which frames are called the same."""
_WINDOW, _SIGMA = (11, 11), 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""Constants of SSIM (Wang et al. 2004)."""
_STILL = 1e-4
"""Face heights; a feature that moves less in both videos does not move."""

Track = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """How alike two frames are. `psnr` in dB; infinite for equal frames."""

    psnr: float
    ssim: float


def frames(video: Path) -> Iterator[Pixels]:
    """Yield the frames of a video as RGB."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def compare(one: Pixels, other: Pixels) -> Likeness:
    """Compare two frames of the same size."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return Likeness(10 * np.log10(255**2 / error) if error else float("inf"), ssim(_grey(one), _grey(other)))


def ssim(one: Track, other: Track) -> float:
    """Return the mean structural similarity of two grey pictures (H, W) in [0, 255]."""

    def blurred(picture: Track) -> Track:
        return np.asarray(cv2.GaussianBlur(picture, _WINDOW, _SIGMA))

    mean, other_mean = blurred(one), blurred(other)
    variance, other_variance = blurred(one * one) - mean**2, blurred(other * other) - other_mean**2
    covariance = blurred(one * other) - mean * other_mean
    light = (2 * mean * other_mean + _C1) / (mean**2 + other_mean**2 + _C1)
    structure = (2 * covariance + _C2) / (variance + other_variance + _C2)
    return float(np.mean(light * structure))


def _grey(picture: Pixels) -> Track:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)).astype(np.float64)


def tracks(video: Path) -> dict[str, Track]:
    """Return how the face moves: each feature by frame, in face heights; `nan` where no face was found."""
    face = track_face(video)
    height = np.nanmedian(np.linalg.norm(face.points[:, at.FOREHEAD] - face.points[:, at.CHIN], axis=1))
    middle = np.asarray(np.nanmean(face.points, axis=1), float) / height
    return {"lips open": face.gap, "eyes open": face.eyes, "head across": middle[:, 0], "head up": middle[:, 1]}


def correlation(one: Track, other: Track) -> float | None:
    """Return the correlation of two tracks over the frames that both have; None if nothing moves."""
    count = min(len(one), len(other))
    pair = np.stack((one[:count], other[:count]))
    pair = pair[:, np.isfinite(pair).all(0)]
    if pair.shape[1] < 3 or (pair.std(1) < _STILL).any():
        return None
    return float(np.asarray(np.corrcoef(pair))[0, 1])


def rendered(arguments: argparse.Namespace, folder: Path) -> Path:
    """Render the inputs with the published settings."""
    given = {"emotion": arguments.emotion, "crop": arguments.crop, "duration": arguments.duration}
    given |= {} if arguments.seed is None else {"seed": arguments.seed}
    options = RenderOptions(**given, **preset_values(Preset.PUBLISHED, given))
    engine = load_engine(arguments.engine, arguments.checkpoints)
    labels = Labels.of(LabelOptions(), str(uuid.uuid4()), ENGINES[engine.name].source_type)
    output = folder / f"{secrets.token_hex(4)}.mp4"

    def report(progress: Progress) -> None:
        print(f"\r{progress.fraction:5.0%}  {progress.message}", end="", flush=True)

    engine.render(RenderJob(arguments.portrait, arguments.speech, output, options, labels=labels), report)
    print()
    return output


def tell_frames(published: Path, ours: Path) -> None:
    """Print how alike the frames are, and where the videos part."""
    found: list[Likeness] = []
    lengths = [0, 0]
    print("frame  PSNR dB   SSIM")
    for number, pair in enumerate(zip_longest(frames(published), frames(ours))):
        one, other = pair
        lengths = [length + (frame is not None) for length, frame in zip(lengths, pair, strict=True)]
        if one is None or other is None:
            continue
        if one.shape != other.shape:
            raise SystemExit(f"The sizes differ: {one.shape[1]}x{one.shape[0]} and {other.shape[1]}x{other.shape[0]}")
        found.append(compare(one, other))
        print(f"{number:5}  {found[-1].psnr:7.2f}  {found[-1].ssim:.4f}")
    print(f"frames: {lengths[0]} published, {lengths[1]} ours, {len(found)} compared")
    if not found:
        raise SystemExit("There is nothing to compare")
    finite = [min(likeness.psnr, 99.0) for likeness in found]
    print(f"mean: {np.mean(finite):.2f} dB, SSIM {np.mean([likeness.ssim for likeness in found]):.4f}")
    for words, limit in (("is not the same", SAME_DB), ("differs by more than encoding does", DIFFERS_DB)):
        first = next((number for number, likeness in enumerate(found) if likeness.psnr < limit), None)
        print(f"first frame that {words} (below {limit:g} dB): {'none' if first is None else first}")


def tell_motion(published: Path, ours: Path) -> None:
    """Print whether the face moves in the same way."""
    one, other = tracks(published), tracks(ours)
    for name in one:
        if len(one[name]) == 0 or not np.isfinite(one[name]).any() or not np.isfinite(other[name]).any():
            print(f"{name:12} no face is found")
            continue
        alike = correlation(one[name], other[name])
        print(f"{name:12} {'does not move' if alike is None else f'correlation {alike:.3f}'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path)
    parser.add_argument("portrait", type=Path, nargs="?")
    parser.add_argument("speech", type=Path, nargs="?")
    parser.add_argument("-e", "--emotion", choices=[emotion.value for emotion in Emotion], default="happy")
    parser.add_argument("--ours", type=Path, help="compare with this video, and render nothing")
    parser.add_argument("--crop", action="store_true")
    parser.add_argument("--duration", type=float)
    parser.add_argument("--seed", type=int, help="another than the published one")
    parser.add_argument("--engine", choices=list(ENGINES), default="diffusion")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    arguments = parser.parse_args()
    if arguments.ours is None and arguments.speech is None:
        parser.error("PORTRAIT and SPEECH are wanted, or --ours")
    with tempfile.TemporaryDirectory() as folder:
        ours = arguments.ours or rendered(arguments, Path(folder))
        tell_frames(arguments.published, ours)
        tell_motion(arguments.published, ours)


if __name__ == "__main__":
    main()
