"""The moments of speech that a face answers: stressed words, the ends of phrases, and breaths before new ones."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.curves import smooth

_WORD_S = 0.09
"""Sigma of the energy in which words are peaks."""
_STRESSED = 1.15
"""Energy of a stressed word relative to its mean in the seconds around."""
_APART_S = 0.9
"""Shortest time between two accents. Faster ones would look restless."""
_AROUND_S = 1.5
_SILENT, _PAUSE_S = 0.12, 0.28
"""Energy below which nobody speaks, and the time for which it has to stay there to end a phrase."""


@dataclass(frozen=True)
class Rhythm:
    """Moments in seconds."""

    accents: tuple[float, ...]
    ends: tuple[float, ...]
    starts: tuple[float, ...]  # of phrases that follow a pause


def find_rhythm(energy: Floats) -> Rhythm:
    """Find the moments in `energy (n,)` at 100 Hz."""
    ends, starts = _pauses(energy)
    return Rhythm(_accents(energy), ends, starts)


def _accents(energy: Floats) -> tuple[float, ...]:
    """Return the peaks that stand out, the highest first if two are close."""
    words = smooth(energy, _WORD_S * RATE)
    near = smooth(words, _AROUND_S * RATE)
    peaks = np.flatnonzero((words[1:-1] > words[:-2]) & (words[1:-1] >= words[2:])) + 1
    peaks = peaks[words[peaks] > np.maximum(_STRESSED * near[peaks], 2 * _SILENT)]
    found: list[int] = []
    for peak in peaks[np.argsort(-words[peaks], kind="stable")]:
        if all(abs(int(peak) - other) >= _APART_S * RATE for other in found):
            found.append(int(peak))
    return tuple((peak + 0.5) / RATE for peak in sorted(found))


def _pauses(energy: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return where pauses begin and end. The last word ends a phrase too."""
    silent = np.concatenate(([True], energy < _SILENT, [True]))
    edges = np.flatnonzero(np.diff(silent.astype(np.int8)))
    spoken = edges.reshape(-1, 2) / RATE
    ends, starts = [], []
    for (_, stop), (start, _) in pairwise(spoken):
        if start - stop >= _PAUSE_S:
            ends.append(float(stop))
            starts.append(float(start))
    if len(spoken):
        ends.append(float(spoken[-1, 1]))
    return tuple(ends), tuple(starts)
