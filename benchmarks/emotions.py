"""How far each emotion moves a silent face, as FaceMesh sees it: eight different faces in numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.sheet import only
from dice_talk.emotions import Emotion
from dice_talk.lite.engine import LiteEngine, prepare
from dice_talk.lite.performance import perform
from dice_talk.lite.render import frames
from dice_talk.lite.visemes import speak
from dice_talk.measure import landmarks
from dice_talk.options import RenderOptions

_UP, _RIGHT = np.array((0, -1)), np.array((1, 0))
_FEATURES = {
    "inner brows up": (((55, _UP), (285, _UP)), ()),
    "outer brows up": (((46, _UP), (276, _UP)), ()),
    "left corner up": (((61, _UP),), ()),
    "right corner up": (((291, _UP),), ()),
    "mouth wider": (((291, _RIGHT),), ((61, _RIGHT),)),
    "upper lip up": (((0, _UP),), ()),
    "eyes open": (((159, _UP), (386, _UP)), ((145, _UP), (374, _UP))),
}
"""Mean of the first landmarks' way less that of the second's, each along a direction."""
_SECONDS, _FPS = 2.0, 25


def emotion_shifts(engine: LiteEngine, portraits: Sequence[Path]) -> dict[Emotion, dict[str, float]]:
    """Return the mean shifts over portraits: against neutral, at `emo_scale` 6, in thousandths of the face's height."""
    each = [_of_one(engine, portrait) for portrait in portraits]
    return {e: {name: float(np.mean([one[e][name] for one in each])) for name in _FEATURES} for e in each[0]}


def _of_one(engine: LiteEngine, portrait: Path) -> dict[Emotion, dict[str, float]]:
    options = RenderOptions(emotion="neutral", crop=True, min_resolution=512, fps=_FPS, seed=1)
    rig = prepare(engine.models, portrait, options)
    silence = speak((), np.zeros(int(_SECONDS * 100), np.float32))
    seen = {}
    for emotion in Emotion:
        whole = perform(rig, silence, int(_SECONDS * _FPS), options.model_copy(update={"emotion": emotion}))
        last = only(whole, len(whole) - 1)
        held = replace(last, head=np.zeros_like(last.head), gaze=np.zeros_like(last.gaze))
        seen[emotion] = landmarks(next(frames(rig, held)))
    rest = seen[Emotion.NEUTRAL]
    height = np.linalg.norm(rest[10] - rest[152])
    moved = {emotion: (points - rest) / height * 1000 for emotion, points in seen.items() if emotion != Emotion.NEUTRAL}
    return {emotion: {name: _way(way, name) for name in _FEATURES} for emotion, way in moved.items()}


def _way(moved: np.ndarray, name: str) -> float:
    plus, minus = (np.mean([moved[i] @ along for i, along in part] or [0.0]) for part in _FEATURES[name])
    return float(plus - minus)


def print_emotions(shifts: dict[Emotion, dict[str, float]]) -> None:
    """Print one line per emotion."""
    print("1/1000 H      " + "  ".join(_FEATURES))
    for emotion, values in shifts.items():
        print(f"{emotion.value:12}  " + "  ".join(f"{value:+{len(name)}.0f}" for name, value in values.items()))
