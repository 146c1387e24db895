"""Motion besides speech: blinks, glances, and a head that is never quite still. All times are in seconds."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.curves import smooth, smoothstep

Seconds = NDArray[np.float64]

_BLINK = ((0.0, 0.0), (0.04, 0.35), (0.08, 0.9), (0.115, 1.0), (0.165, 1.0), (0.2, 0.62), (0.24, 0.27), (0.28, 0.06))
"""Seconds after the start of a blink, and how far the lids are down. They close faster than they open."""
_BLINK_END_S, _BLINK_MIDDLE_S = 0.32, 0.14
_BLINK_PAUSE_S, _BLINK_WAIT_S = 1.6, 2.0
"""Shortest pause between blinks, and the mean of the additional pause: about 16 blinks a minute."""
_GLANCE_S = (0.7, 2.6)
_GLANCE = (0.0045, 0.0022)
"""Sigma in face heights of glances, sideways and up."""
_SACCADE_S = 0.045
_SWAY_HZ = (0.09, 0.5)
_SWAYS = 7
"""Sines per axis. Their frequencies have no common period, so that no loop is visible."""
_SWAY = {"yaw": 1.7, "pitch": 0.8, "roll": 0.9, "shift_x": 0.0035, "shift_y": 0.0025}
"""Sigma in degrees and face heights."""
_NOD_DEG = 2.6
"""Degrees of a nod on the loudest syllable, relative to the seconds around it."""
_NOD_S, _PHRASE_S = 0.13, 0.9
_CALM = 0.45
"""Share of the sway that remains while nobody speaks."""
_START_S = 0.6
"""Seconds in which every motion starts from the portrait's pose."""


def blinks(seconds: float, rate: float, rng: np.random.Generator) -> Seconds:
    """Return the start times of blinks. `rate` scales their frequency."""
    times = []
    time = float(rng.uniform(0.5, 2.5)) / rate
    while time + _BLINK_END_S < seconds:
        times.append(time)
        time += _BLINK_END_S + (_BLINK_PAUSE_S + float(rng.gamma(2.0, _BLINK_WAIT_S / 2))) / rate
    return np.array(times, np.float64)


def lid_positions(times: Seconds, starts: Seconds) -> Floats:
    """Return how far the lids are down at `times (F,)`, in [0, 1].

    Each blink is shifted to the nearest frame, so that one frame shows closed eyes even at low frame rates.
    """
    shut = np.zeros(len(times))
    moment, amount = np.array((*_BLINK, (_BLINK_END_S, 0.0))).T
    for start in starts:
        nearest = times[np.argmin(np.abs(times - start - _BLINK_MIDDLE_S))] - _BLINK_MIDDLE_S
        shut = np.maximum(shut, np.interp(times - nearest, moment, amount, left=0, right=0))
    return shut.astype(np.float32)


def glances(times: Seconds, rng: np.random.Generator) -> Floats:
    """Return the gaze at `times (F,)` as a shift of the iris, `(F, 2)` in face heights."""
    moments, places = [0.0], [np.zeros(2)]
    while moments[-1] < times[-1]:
        moments.append(moments[-1] + float(rng.uniform(*_GLANCE_S)))
        places.append(rng.normal(0, _GLANCE) if rng.random() < 0.6 else np.zeros(2))
    where = np.zeros((len(times), 2))
    for i in range(1, len(moments)):
        arrived = np.clip((times - moments[i]) / _SACCADE_S, 0, 1)[:, None]
        where += (places[i] - places[i - 1]) * arrived
    return where.astype(np.float32)


@dataclass(frozen=True)
class HeadMotion:
    """Angles in radians and shifts in face heights, `(F,)` each; see `head.HEAD`."""

    yaw: Floats
    pitch: Floats
    roll: Floats
    shift_x: Floats
    shift_y: Floats


def head_motion(times: Seconds, energy: Floats, rng: np.random.Generator) -> HeadMotion:
    """Return a slow sway that grows during speech, with nods on stressed syllables. `energy (n,)` is at 100 Hz."""
    clock = (np.arange(len(energy)) + 0.5) / RATE
    active = smooth(np.clip(energy * 2, 0, 1), 0.5 * RATE)
    swing = (_CALM + (1 - _CALM) * np.interp(times, clock, active)) * ease(times, _START_S)
    moves = {}
    for name, sigma in _SWAY.items():
        amount = sigma if name.startswith("shift") else math.radians(sigma)
        moves[name] = amount * _sway(times, rng) * swing
    stress = smooth(energy, _NOD_S * RATE) - smooth(energy, _PHRASE_S * RATE)
    moves["pitch"] += math.radians(_NOD_DEG) * np.interp(times, clock, stress) * ease(times, _START_S)
    return HeadMotion(**{name: move.astype(np.float32) for name, move in moves.items()})


def ease(times: Seconds, seconds: float) -> Seconds:
    """Return values that rise smoothly from 0 at the start to 1 after `seconds`, `(F,)`."""
    return smoothstep(times / seconds)


def _sway(times: Seconds, rng: np.random.Generator) -> Seconds:
    """Return unit-variance noise as a sum of sines, of which slow ones are larger."""
    low, high = _SWAY_HZ
    frequency = low * (high / low) ** rng.uniform(0, 1, _SWAYS)
    size = frequency**-0.5
    phase = rng.uniform(0, 2 * math.pi, _SWAYS)
    waves = np.sin(2 * math.pi * times[:, None] * frequency + phase) @ size
    return np.asarray(waves / math.sqrt(float((size**2).sum()) / 2))
