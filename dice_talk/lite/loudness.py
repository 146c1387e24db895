"""Perceived loudness of speech over time, which the jaw follows in any language."""

import numpy as np

from dice_talk.audio import SAMPLE_RATE, Samples
from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.curves import smooth

_WINDOW_S = 0.025
_EXPONENT = 0.6
"""Stevens's power law: loudness grows with amplitude to the power of 0.6."""
_LOUD, _QUIET = 92, 8
"""Percentiles that count as fully loud and as background noise."""
_NEAR_S = 8.0
"""Seconds around a moment that its loudness is relative to, so that a speaker who drifts away from the microphone still
opens the mouth.
"""
_FAINT = 10 ** (-50 / 20)
"""Amplitude below which nothing counts as speech; full scale is 1."""
_NEAR_FLOOR = 0.1
"""Lowest level around a moment, as a share of the whole recording's, so that quiet passages stay quiet."""


def loudness(samples: Samples) -> Floats:
    """Return the loudness `(n,)` at 100 Hz in [0, 1.2] of mono speech at 16 kHz.

    0 is silence, and 1 is the level of the recording's loud syllables.
    """
    rms = amplitude(samples)
    noise = float(np.percentile(rms, _QUIET))
    level = max(float(np.percentile(rms, _LOUD)), _FAINT)
    noise = min(noise, 0.25 * level)
    near = np.maximum(_near_level(rms), _NEAR_FLOOR * level)
    reference = np.sqrt(near * level)
    loud = np.clip((rms - noise) / np.maximum(reference - noise, _FAINT), 0, None) ** _EXPONENT
    limited: Floats = np.minimum(loud, 1.2).astype(np.float32)
    return limited


def amplitude(samples: Samples) -> Floats:
    """Return the root mean square around each hundredth of a second, `(n,)`."""
    hop, half = SAMPLE_RATE // RATE, round(_WINDOW_S * SAMPLE_RATE / 2)
    count = max(1, -(-len(samples) // hop))
    total = np.concatenate(([0.0], np.cumsum(samples.astype(np.float64) ** 2)))
    centre = np.arange(count) * hop + hop // 2
    first, last = np.clip(centre - half, 0, len(samples)), np.clip(centre + half, 0, len(samples))
    energy = np.maximum(total[last] - total[first], 0) / (2 * half)
    rms: Floats = np.sqrt(energy).astype(np.float32)
    return rms


def _near_level(rms: Floats) -> Floats:
    """Return the loud percentile within `_NEAR_S`, `(n,)`, computed once per second and interpolated."""
    half = round(_NEAR_S * RATE / 2)
    centres = np.arange(0, len(rms), RATE)
    levels = [np.percentile(rms[max(c - half, 0) : c + half], _LOUD) for c in centres]
    steady = np.interp(np.arange(len(rms)), centres, levels).astype(np.float32)
    return smooth(steady, RATE) if len(rms) > RATE else steady
