"""Measures a finished talking-head video by running the face mesh over its decoded frames.

As a process: `python -m dice_talk.measure IMAGE VIDEO FACE_INDEX CHECKPOINTS` prints the results as one JSON line.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from dice_talk import priority
from dice_talk.audio import SAMPLE_RATE, Samples
from dice_talk.channels import to_mono
from dice_talk.child import exit_with_parent, report_missing_files, say
from dice_talk.diffusion.files import INSIGHTFACE
from dice_talk.face import Box, largest
from dice_talk.face_models import ALL_PARTS, LIPS, FaceMesh, load_mesh
from dice_talk.image import Pixels, load_portrait
from dice_talk.lite import topology as at

Track = NDArray[np.float64]

SMOOTHING = 5
"""Frames over which lip gap and loudness are averaged before they are compared."""
MAX_LAG = 12
"""Frames by which the lips may be early or late."""
MOST_FRAMES = 720
"""Frames from the start that are measured for a receipt: usually half a minute of video, and about ten seconds of work.
"""
DETECT_EVERY = 2
"""The detector runs on every second frame. A head moves little between frames, and running it on each would make a
receipt take a sixth longer.
"""
COMPARED_FRAMES = 8
"""Frames, spread over the measured ones, whose identity is compared with the portrait."""
_UNSEEN = np.full((478, 2), np.nan, np.float32)
_EYES = (
    (at.LEFT_LID_TOP, at.LEFT_LID_BOTTOM, at.LEFT_EYE_OUTER, at.LEFT_EYE_INNER),
    (at.RIGHT_LID_TOP, at.RIGHT_LID_BOTTOM, at.RIGHT_EYE_INNER, at.RIGHT_EYE_OUTER),
)
"""Upper lid, lower lid and the two corners."""


@dataclass(frozen=True)
class FaceTrack:
    """What the face mesh finds in a video, per frame `(F,)` and in face heights; `nan` if it finds no face."""

    gap: Track
    eyes: Track
    points: NDArray[np.float32]  # (F, 478, 2), pixels

    @property
    def found(self) -> float:
        """Share of frames with a face."""
        return float(np.isfinite(self.gap).mean())


def track_face(video: Path, most: int | None = None, parts: Sequence[str] = ALL_PARTS) -> FaceTrack:
    """Track the face through the first `most` frames, or all. `parts`: the parts that the mesh refines."""
    with av.open(str(video)) as container:
        frames = islice(container.decode(video=0), most)
        points = np.stack(list(track_landmarks((_pixels(frame) for frame in frames), _mesh(parts))))
    height = np.linalg.norm(points[:, at.FOREHEAD] - points[:, at.CHIN], axis=1)
    gap = np.linalg.norm(points[:, at.INNER_LIP_TOP] - points[:, at.INNER_LIP_BOTTOM], axis=1) / height
    return FaceTrack(gap.astype(float), eye_openness(points).astype(float), points)


def _pixels(frame: av.VideoFrame) -> Pixels:
    """Return RGB `(H, W, 3)`."""
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def track_landmarks(pictures: Iterable[Pixels], mesh: FaceMesh) -> Iterator[NDArray[np.float32]]:
    """Yield the landmarks `(478, 2)` in each RGB picture of a video, in pixels; `nan` if there is no face.

    The mesh treats each picture on its own, at the place where the detector last saw the face, at most `DETECT_EVERY`
    pictures ago.
    """
    view = None
    for number, picture in enumerate(pictures):
        points = mesh.look(picture, view) if view and number % DETECT_EVERY else None
        if points is None:
            view = mesh.find(picture)
            points = mesh.look(picture, view) if view else None
        yield _UNSEEN if points is None else points[:, :2]


def landmarks(picture: Pixels) -> NDArray[np.float32]:
    """Return the landmarks in an RGB picture, `(478, 2)` in pixels; `nan` if there is no face."""
    return next(track_landmarks([picture], _mesh(ALL_PARTS)))


@cache
def _mesh(parts: Sequence[str]) -> FaceMesh:
    return load_mesh(confidence=0.5, parts=parts)


def eye_openness(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return height over width of the eye openings, averaged over both eyes: `(...)` for `points (..., 478, 2)`."""
    ratios = []
    for eye in _EYES:
        top, bottom, left, right = (points[..., i, :] for i in eye)
        ratios.append(np.linalg.norm(top - bottom, axis=-1) / np.linalg.norm(left - right, axis=-1))
    mean: NDArray[np.float32] = np.mean(ratios, axis=0)
    return mean


def read_sound(video: Path, seconds: float) -> Samples:
    """Return the first `seconds` of a video's sound, mixed and resampled as for the engines."""
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    pieces: list[Samples] = []
    with av.open(str(video)) as container:
        for frame in container.decode(audio=0):
            if (frame.time or 0) > seconds:
                break
            pieces += [part.to_ndarray().T.astype(np.float32, copy=False) for part in resampler.resample(frame)]
    return to_mono(np.concatenate(pieces))[: round(seconds * SAMPLE_RATE)]


def loudness_per_frame(samples: Samples, fps: int, frames: int) -> Track:
    """Return the loudness of the sound under each frame, in sones up to a factor: amplitude to the power of 0.6."""
    edges = np.round(np.arange(frames + 1) / fps * SAMPLE_RATE).astype(int)
    padded = np.pad(samples.astype(np.float64), (0, max(0, edges[-1] - len(samples))))
    energy = [float(np.mean(padded[a:b] ** 2)) for a, b in pairwise(edges)]
    loudness: Track = np.sqrt(np.array(energy)) ** 0.6
    return loudness


def correlation(gap: Track, loudness: Track) -> tuple[float, int]:
    """Return the best correlation of smoothed lip gap and loudness, and its lag in frames (positive: lips late)."""
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


@dataclass(frozen=True)
class Measurements:
    """Measurements of a finished video. None if something cannot be measured; `why_not` has the reasons."""

    frames: int  # frames measured, from the start
    face_found_share: float
    lip_lag_frames: int | None  # positive: lips late
    lip_correlation: float | None
    identity_similarity: float | None  # cosine; 1 for the same picture
    why_not: list[str]


def measure(video: Path, portrait: Pixels, face_index: int, checkpoints: Path) -> Measurements:
    """Measure the first frames of a video that was made from an RGB portrait."""
    seen = track_face(video, MOST_FRAMES, LIPS)
    sync, no_sync = _lip_sync(video, seen)
    similarity, no_similarity = _similarity(video, portrait, face_index, checkpoints, len(seen.gap))
    return Measurements(
        frames=len(seen.gap),
        face_found_share=round(seen.found, 4),
        lip_lag_frames=sync[1] if sync else None,
        lip_correlation=round(sync[0], 3) if sync else None,
        identity_similarity=similarity,
        why_not=[reason for reason in (no_sync, no_similarity) if reason],
    )


def _lip_sync(video: Path, seen: FaceTrack) -> tuple[tuple[float, int] | None, str | None]:
    """Return correlation and lag, or the reason why there are none."""
    count = len(seen.gap)
    if count <= 2 * (SMOOTHING + MAX_LAG):
        return None, f"Lips and sound can't be compared in {count} frames"
    if not seen.found:
        return None, "Lips and sound can't be compared: no face was found in the video"
    with av.open(str(video)) as container:
        fps = round(container.streams.video[0].average_rate or 0)
    loudness = loudness_per_frame(read_sound(video, count / fps), fps, count)
    if not (np.nanstd(seen.gap) and np.std(loudness)):
        return None, "Lips and sound can't be compared: the sound or the mouth never changes"
    return correlation(seen.gap, loudness), None


def _similarity(
    video: Path, portrait: Pixels, face_index: int, checkpoints: Path, count: int
) -> tuple[float | None, str | None]:
    """Return the mean cosine of the embeddings of the portrait and of the video, or the reason why there is none."""
    models = sorted((checkpoints / INSIGHTFACE / "models").glob("*/*.onnx"))
    if not models or not find_spec("insightface"):
        return None, "Identity can't be compared: this server has no insightface models"
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(
        name=models[0].parent.name,
        root=str(checkpoints / INSIGHTFACE),
        allowed_modules=["detection", "recognition"],
        providers=["CPUExecutionProvider"],
    )
    if "recognition" not in app.models:
        return None, "Identity can't be compared: this server's insightface models recognise nobody"
    app.prepare(ctx_id=-1)
    original = _embedding(app, portrait, face_index)
    with av.open(str(video)) as container:
        chosen = islice(container.decode(video=0), 0, count, max(1, count // COMPARED_FRAMES))
        shown = [_embedding(app, _pixels(frame), 0) for frame in chosen]
    known = [one for one in shown if one is not None]
    if original is None or not known:
        return None, "Identity can't be compared: insightface finds no face"
    return round(float(np.mean([original @ one for one in known])), 3), None


def _embedding(app: Any, picture: Pixels, index: int) -> NDArray[np.float32] | None:
    """Return the unit embedding of face number `index` by size in an RGB picture, or None if it is not found."""
    faces = {Box(*map(float, face.bbox)): face for face in app.get(np.ascontiguousarray(picture[..., ::-1]))}
    by_size = largest(list(faces))
    return faces[by_size[index]].normed_embedding if index < len(by_size) else None


def main() -> None:
    """Entry point."""
    image, video, face_index, checkpoints = sys.argv[1:]
    exit_with_parent()
    priority.lower_priority(priority.MEASURE)
    with report_missing_files():
        portrait = load_portrait(Path(image))
        say(measured=asdict(measure(Path(video), portrait, int(face_index), Path(checkpoints))))


if __name__ == "__main__":
    main()
