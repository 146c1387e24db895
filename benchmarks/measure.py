"""Figures of a finished talking-head video beyond those of `dice_talk.measure`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dice_talk.measure import Track

_CLOSED = 0.82
"""Share of the usual eye opening below which the eyes blink. High, because the face mesh prefers open eyes."""
_APART = 8
"""Frames between two blinks, at least."""


def gaps_at(gap: Track, moments: Sequence[float], fps: int) -> Track:
    """Return the lip gap in the frames at these seconds."""
    frames = [min(int(moment * fps), len(gap) - 1) for moment in moments]
    return gap[frames]


def blinks_seen(eyes: Track) -> int:
    """Count how often the eyes close."""
    closed = np.flatnonzero(eyes < _CLOSED * np.nanmedian(eyes))
    return int((np.diff(closed) > _APART).sum() + 1) if len(closed) else 0


def psnr(frame: NDArray[np.uint8], portrait: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Return the PSNR of the pixels `where` in dB; infinite if they are equal."""
    error = float(np.mean((frame[where].astype(float) - portrait[where]) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
