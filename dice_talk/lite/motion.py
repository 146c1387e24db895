"""Motion besides speech: blinks, gaze, breath, and a head that is never quite still. All times are in seconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.curves import smooth, smoothstep
from dice_talk.lite.rhythm import Rhythm

Seconds = NDArray[np.float64]

_BLINK = ((0.0, 0.0), (0.04, 0.35), (0.08, 0.9), (0.115, 1.0), (0.165, 1.0), (0.2, 0.62), (0.24, 0.27), (0.28, 0.06))
"""Seconds after the start of a blink, and how far the lids are down. They close faster than they open."""
_BLINK_END_S, _BLINK_MIDDLE_S = 0.32, 0.14
_BLINK_PAUSE_S, _BLINK_WAIT_S = 1.6, 2.0
"""Shortest pause between blinks, and the mean of the additional pause: about 16 blinks a minute."""
_BLINK_MOVES_S = 0.6
"""Time by which a blink is moved to fall on the end of a phrase."""
_FIXATION_S = (0.35, 0.75)
"""Shortest time between two jumps of the gaze, and the mean of the additional time."""
_AWAY = 0.45
"""Share of the jumps that do not return to the viewer."""
_AWAY_DEG = ((2.5, 8.0), 2.5)
"""How far the gaze goes sideways, and the sigma up and down, in degrees."""
_SACCADE_S = 0.045
_SWAY_HZ = (0.12, 0.7)
_SWAYS = 7
"""Sines per axis. Their frequencies have no common period, so that no loop is visible."""
_SWAY = {"yaw": 3.8, "pitch": 2.0, "roll": 0.9, "shift_x": 0.005, "shift_y": 0.003}
"""Sigma in degrees and face heights."""
_MOST = {"yaw": 7.0, "pitch": 6.0, "roll": 2.6, "shift_x": 0.015, "shift_y": 0.012}
"""Limits that the motion approaches. Beyond them, what a turn uncovers would have to be known."""
_NOD_DEG, _TILT_DEG = 3.8, 1.4
"""Degrees of the nod on an accent and of the tilt at the end of a phrase."""
_NOD = (0.16, 0.04, 0.22)
_TILT = (0.5, 0.5, 0.8)
_FLASH = (0.12, 0.12, 0.25)
"""Seconds in which a nod, a tilt and a flash of the brows rise, stay, and fall to a third."""
_FLASHES = 0.5
"""Share of the accents on which the brows flash."""
_CALM = 0.45
"""Share of the sway that remains while nobody speaks."""
_START_S = 0.6
"""Seconds in which every motion starts from the portrait's pose."""
_BREATH_HZ = (0.22, 0.29)


def blinks(seconds: float, rate: float, ends: Sequence[float], rng: np.random.Generator) -> Seconds:
    """Return the start times of blinks. `rate` scales their frequency; those near the end of a phrase fall on it."""
    times: list[float] = []
    time = float(rng.uniform(0.5, 2.5)) / rate
    while time + _BLINK_END_S < seconds:
        near = [end for end in ends if abs(end - time) <= _BLINK_MOVES_S and end + _BLINK_END_S < seconds]
        moved = min(near, key=lambda end: abs(end - time)) if near else time
        if not times or moved - times[-1] > _BLINK_PAUSE_S:
            time = moved
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


def gaze(times: Seconds, rng: np.random.Generator) -> Floats:
    """Return where the eyes look at `times (F,)`: to the right and up in radians, `(F, 2)`, 0 at the viewer."""
    shortest, longer = _FIXATION_S
    (least, most), up = _AWAY_DEG
    where, moment, place = np.zeros((len(times), 2)), 0.0, np.zeros(2)
    while moment < times[-1]:
        moment += shortest + float(rng.gamma(2.0, longer / 2))
        away = rng.random() < _AWAY or not place.any()
        sideways = math.copysign(rng.uniform(least, most), rng.normal())
        goal = np.radians((sideways, rng.normal(0, up))) if away else np.zeros(2)
        where += (goal - place) * np.clip((times - moment) / _SACCADE_S, 0, 1)[:, None]
        place = goal
    return where.astype(np.float32)


@dataclass(frozen=True)
class HeadMotion:
    """Angles in radians and shifts in face heights, `(F,)` each; see `head.HEAD`."""

    yaw: Floats
    pitch: Floats
    roll: Floats
    shift_x: Floats
    shift_y: Floats


def head_motion(times: Seconds, energy: Floats, rhythm: Rhythm, rng: np.random.Generator) -> HeadMotion:
    """Return a slow sway that grows during speech, with nods on accents and tilts at the ends of phrases.

    `energy (n,)` is at 100 Hz.
    """
    clock = (np.arange(len(energy)) + 0.5) / RATE
    active = smooth(np.clip(energy * 2, 0, 1), 0.5 * RATE)
    swing = _CALM + (1 - _CALM) * np.interp(times, clock, active)
    moves = {name: sigma * sway(times, rng) * swing for name, sigma in _SWAY.items()}
    for accent in rhythm.accents:
        moves["pitch"] += _NOD_DEG * rng.uniform(0.5, 1) * surge(times, accent - 0.1, *_NOD)
    for end in rhythm.ends:
        moves["roll"] += _TILT_DEG * rng.uniform(-1, 1) * surge(times, end - 0.3, *_TILT)
    start = ease(times, _START_S)
    limited = {name: _MOST[name] * np.tanh(move / _MOST[name]) * start for name, move in moves.items()}
    return HeadMotion(
        **{
            name: (move if name.startswith("shift") else np.radians(move)).astype(np.float32)
            for name, move in limited.items()
        }
    )


def brow_flashes(times: Seconds, accents: Sequence[float], rng: np.random.Generator) -> Floats:
    """Return how far the brows are raised by accents, `(F,)` in [0, 1]."""
    raised = np.zeros(len(times))
    for accent in accents:
        height = rng.uniform(0.5, 1) * (rng.random() < _FLASHES)
        raised = np.maximum(raised, height * surge(times, accent - 0.12, *_FLASH))
    return raised.astype(np.float32)


def breath(times: Seconds, rng: np.random.Generator) -> Floats:
    """Return how full the lungs are, `(F,)` in [-0.5, 0.5], 0 at the start."""
    rate, phase = rng.uniform(*_BREATH_HZ), 0.3 * sway(times, rng)
    full: Floats = (0.5 * np.sin(2 * math.pi * rate * times + phase) * ease(times, _START_S)).astype(np.float32)
    return full


def surge(times: Seconds, start: float, rise: float, hold: float, fall: float) -> Seconds:
    """Return a wave that rises to 1 in `rise` seconds, stays, and falls to a third in `fall` seconds."""
    wave: Seconds = smoothstep((times - start) / rise) * np.exp(-np.maximum(times - start - rise - hold, 0) / fall)
    return wave


def ease(times: Seconds, seconds: float) -> Seconds:
    """Return values that rise smoothly from 0 at the start to 1 after `seconds`, `(F,)`."""
    return smoothstep(times / seconds)


def sway(times: Seconds, rng: np.random.Generator) -> Seconds:
    """Return unit-variance noise as a sum of sines, of which slow ones are larger."""
    low, high = _SWAY_HZ
    frequency = low * (high / low) ** rng.uniform(0, 1, _SWAYS)
    size = frequency**-0.5
    phase = rng.uniform(0, 2 * math.pi, _SWAYS)
    waves = np.sin(2 * math.pi * times[:, None] * frequency + phase) @ size
    return np.asarray(waves / math.sqrt(float((size**2).sum()) / 2))
