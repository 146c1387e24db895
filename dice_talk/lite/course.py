"""How strong an emotion is from moment to moment: it comes, stays, ebbs, and returns with what is stressed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dice_talk.lite.motion import Seconds, ease, surge, sway

_ONSET_S, _APEX_S, _EBB_S = 0.4, 1.4, 2.0
"""Seconds in which an emotion comes, in which it stays, and in which what ebbs falls to a third."""
_LEAST = 0.6
"""Strength to which an emotion ebbs."""
_RETURN = (0.28, 0.45, 1.3)
"""Rise, stay and ebb of a new peak, in seconds."""
_PEAK = (0.7, 1.0)
_NOISE = 0.03
_UNEVEN, _LATE_S = (0.025, 0.05), (0.02, 0.04)
"""By how much each half of the face is stronger or weaker, and earlier or later, than their mean."""


@dataclass(frozen=True)
class Course:
    """The strength of an emotion, 1 at its first apex."""

    peaks: tuple[tuple[float, float], ...]  # seconds and height
    noise: int  # seed
    uneven: float  # how much stronger the left half is
    late: float  # seconds by which the left half is late

    def __call__(self, times: Seconds, side: int = 0) -> Seconds:
        """Return the strength at `times (F,)`. `side`: -1 for the left half of the picture's face, 1 for the right."""
        return (1 - side * self.uneven) * self._both(times + side * self.late)

    def _both(self, times: Seconds) -> Seconds:
        onset = ease(times, _ONSET_S)
        high = surge(times, 0.0, _ONSET_S, _APEX_S, _EBB_S)
        for moment, height in self.peaks:
            high = np.maximum(high, height * surge(times, moment, *_RETURN))
        noise = _NOISE * sway(times, np.random.default_rng(self.noise))
        strength: Seconds = onset * (_LEAST + (1 - _LEAST) * high) * (1 + noise)
        return strength


def make_course(moments: Sequence[float], rng: np.random.Generator) -> Course:
    """Return a course with new peaks at `moments`: stressed words and the ends of phrases."""
    rise, *_ = _RETURN
    peaks = tuple((moment - rise / 2, float(rng.uniform(*_PEAK))) for moment in moments)
    side = float(rng.choice((-1, 1)))
    return Course(
        peaks, int(rng.integers(2**31)), side * float(rng.uniform(*_UNEVEN)), side * float(rng.uniform(*_LATE_S))
    )
