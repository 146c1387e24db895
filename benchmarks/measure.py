"""Figures of a finished talking-head video, found by looking at its decoded frames with FaceMesh."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import mediapipe as mp
import numpy as np
from numpy.typing import NDArray

from dice_talk.audio import SAMPLE_RATE, Samples
from dice_talk.image import Pixels

Track = NDArray[np.float64]

SMOOTHING = 5
"""Frames over which gap and loudness are averaged before they are compared."""
MAX_LAG = 12
"""Frames."""
_LIPS, _FACE = (13, 14), (10, 152)
_EYES = ((159, 145, 33, 133), (386, 374, 362, 263))
_CLOSED = 0.82
"""Of the usual eye opening; below it the eyes blink. High, because FaceMesh likes to see open eyes."""
_APART = 8
"""Frames between two blinks, at least."""


@dataclass(frozen=True)
class Seen:
    """What FaceMesh sees in a video; `nan` where it finds no face. All per frame `(F,)`, in face heights."""

    gap: Track
    eyes: Track
    points: NDArray[np.float32]  # (F, 478, 2), pixels

    @property
    def found(self) -> float:
        """Share of frames with a face."""
        return float(np.isfinite(self.gap).mean())


def look(video: Path) -> Seen:
    """Every frame on its own, as a stranger who opens the file there."""
    with av.open(str(video)) as container:
        points = np.stack([landmarks(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)])
    height = np.linalg.norm(points[:, _FACE[0]] - points[:, _FACE[1]], axis=1)
    gap = np.linalg.norm(points[:, _LIPS[0]] - points[:, _LIPS[1]], axis=1) / height
    eyes = np.mean([_openness(points, eye) for eye in _EYES], axis=0)
    return Seen(gap.astype(float), eyes.astype(float), points)


def landmarks(picture: Pixels) -> NDArray[np.float32]:
    """What FaceMesh sees in an RGB picture, `(478, 2)` in pixels; `nan` where it finds no face."""
    found = _mesh().process(picture).multi_face_landmarks
    if not found:
        return np.full((478, 2), np.nan, np.float32)
    return np.array([(p.x * picture.shape[1], p.y * picture.shape[0]) for p in found[0].landmark], np.float32)


@cache
def _mesh() -> Any:
    return mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.5
    )


def _openness(points: NDArray[np.float32], eye: tuple[int, int, int, int]) -> NDArray[np.float32]:
    top, bottom, left, right = (points[:, i] for i in eye)
    ratio: NDArray[np.float32] = np.linalg.norm(top - bottom, axis=1) / np.linalg.norm(left - right, axis=1)
    return ratio


def loudness_per_frame(samples: Samples, fps: int, frames: int) -> Track:
    """Loudness of the sound under each frame, in sones up to a factor: amplitude to the power 0.6."""
    edges = np.round(np.arange(frames + 1) / fps * SAMPLE_RATE).astype(int)
    padded = np.pad(samples.astype(np.float64), (0, max(0, edges[-1] - len(samples))))
    energy = [float(np.mean(padded[a:b] ** 2)) for a, b in pairwise(edges)]
    return np.sqrt(np.array(energy)) ** 0.6


def correlation(gap: Track, loudness: Track) -> tuple[float, int]:
    """Best correlation of smoothed gap and loudness, and its lag in frames (positive: lips late)."""
    count = min(len(gap), len(loudness))
    lips = _smooth(np.nan_to_num(gap[:count], nan=float(np.nanmean(gap))))
    sound = _smooth(loudness[:count])
    scores = {}
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        a, b = (lips[lag:], sound[: count - lag]) if lag >= 0 else (lips[:lag], sound[-lag:])
        scores[lag] = float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 * SMOOTHING else 0.0
    best = max(scores, key=lambda lag: scores[lag])
    return scores[best], best


def _smooth(values: Track) -> Track:
    return np.convolve(np.pad(values, SMOOTHING // 2, mode="edge"), np.ones(SMOOTHING) / SMOOTHING, mode="valid")


def gaps_at(gap: Track, moments: Sequence[float], fps: int) -> Track:
    """Lip gap in the frames that show these seconds."""
    frames = [min(int(moment * fps), len(gap) - 1) for moment in moments]
    return gap[frames]


def blinks_seen(eyes: Track) -> int:
    """How often the eyes close."""
    closed = np.flatnonzero(eyes < _CLOSED * np.nanmedian(eyes))
    return int((np.diff(closed) > _APART).sum() + 1) if len(closed) else 0


def psnr(frame: NDArray[np.uint8], portrait: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Of the pixels `where`, in dB; infinite when they are the same."""
    error = float(np.mean((frame[where].astype(float) - portrait[where]) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
