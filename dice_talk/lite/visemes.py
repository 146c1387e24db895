"""From sounds and loudness to the mouth: opening, width, rounding and the position of the tongue."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.curves import smooth, smoothstep
from dice_talk.lite.phones import Phone


@dataclass(frozen=True)
class Viseme:
    """A mouth shape. `gap` and `spread` (corners outwards) are in face heights; `round` and `tongue` in [0, 1]."""

    gap: float
    spread: float = 0.0
    round: float = 0.0
    tongue: float = 0.0


_SHAPES = {
    "AA": Viseme(0.085),
    "AE": Viseme(0.075, spread=0.008),
    "AH": Viseme(0.058),
    "AO": Viseme(0.068, round=0.45),
    "AW": Viseme(0.070, round=0.35),
    "AY": Viseme(0.078, spread=0.004),
    "EH": Viseme(0.058, spread=0.008),
    "ER": Viseme(0.042, round=0.35),
    "EY": Viseme(0.048, spread=0.014),
    "IH": Viseme(0.038, spread=0.010),
    "IY": Viseme(0.030, spread=0.018),
    "OW": Viseme(0.050, round=0.85),
    "OY": Viseme(0.055, round=0.70),
    "UH": Viseme(0.036, round=0.70),
    "UW": Viseme(0.028, round=1.0),
    "W": Viseme(0.020, round=0.95),
    "Y": Viseme(0.028, spread=0.012, tongue=0.4),
    "R": Viseme(0.030, round=0.40, tongue=0.4),
    "L": Viseme(0.040, tongue=1.0),
    "T": Viseme(0.022, tongue=0.8),
    "D": Viseme(0.022, tongue=0.8),
    "N": Viseme(0.022, tongue=0.8),
    "TH": Viseme(0.022, tongue=0.9),
    "DH": Viseme(0.022, tongue=0.9),
    "S": Viseme(0.016, spread=0.006),
    "Z": Viseme(0.016, spread=0.006),
    "SH": Viseme(0.020, round=0.50),
    "ZH": Viseme(0.020, round=0.50),
    "CH": Viseme(0.020, round=0.45),
    "JH": Viseme(0.020, round=0.45),
    "K": Viseme(0.030),
    "G": Viseme(0.030),
    "NG": Viseme(0.028),
    "HH": Viseme(0.040),
    "F": Viseme(0.010),
    "V": Viseme(0.010),
    "P": Viseme(0.0),
    "B": Viseme(0.0),
    "M": Viseme(0.0),
}
_SILENT = Viseme(0.0)
_CLOSING = ("P", "B", "M")
_NARROWING = {0.010: ("F", "V"), 0.032: ("S", "Z", "SH", "ZH", "CH", "JH")}
"""Largest opening in face heights for sounds made with the teeth on the lip or on each other, however loud they are."""
_HALF_SHUT = 0.6
"""How far such sounds close a mouth that an emotion holds open."""

_GAP_SIGMA_S = 0.028
_SHAPE_SIGMA_S = 0.042
"""Rounding and spreading affect neighbouring sounds further than opening does."""
_LOUD_SHARE = 0.58
"""Share of the opening that depends on loudness alone, which is right in any language and corrects recognition errors.
"""
_LOUD_GAP = 0.072
"""Opening in face heights at full loudness."""
_SPEECH = 0.22
"""Loudness above which the mouth takes the full shape of the sounds. In silence it rests."""
_PLATEAU_S, _RAMP_S = 0.05, 0.025
"""Shortest closure, which must be visible in a frame, and the time in which it opens and closes."""
_PARTING_S = 0.03
"""A recognised p, b or m begins about this long before the lips meet, and ends as long after they have parted."""
_DIP = 0.95
"""Highest loudness in a true closure relative to the loudest moment within `_AROUND_S`; above it, the recogniser was
wrong. It is near 1, because an m is almost as loud as the vowels beside it.
"""
_AROUND_S = 0.15


@dataclass(frozen=True)
class Speaking:
    """The mouth at 100 Hz, `(n,)` each, in the units of `Viseme`. `energy`: 0 in silence, 1 on stressed syllables."""

    gap: Floats
    spread: Floats
    round: Floats
    tongue: Floats
    press: Floats  # lips pressed together on p, b, m
    shut: Floats  # share of an opening besides speech that sounds close: all of it on p, b, m
    energy: Floats
    closures: tuple[float, ...]  # seconds at which the lips are shut on p, b, m


def speak(phones: Sequence[Phone], loud: Floats) -> Speaking:
    """Compute the mouth's motion. `loud (n,)` is at 100 Hz; see `loudness`."""
    shapes = [(phone, _SHAPES.get(phone.name.rstrip("012"), _SILENT)) for phone in phones]
    count = len(loud)
    energy = smooth(loud, _GAP_SIGMA_S * RATE)
    speech = np.clip(energy / _SPEECH, 0, 1)
    heard = smooth(_steps(count, [(p, s.gap) for p, s in shapes]), _GAP_SIGMA_S * RATE)
    gap = speech * (1 - _LOUD_SHARE) * heard + _LOUD_SHARE * _LOUD_GAP * energy
    shut = np.zeros(count, np.float32)
    for most, names in _NARROWING.items():
        narrow = _trapezoids(count, [p for p in phones if p.name in names])
        gap = np.minimum(gap, most) * narrow + gap * (1 - narrow)
        shut = np.maximum(shut, narrow * np.float32(_HALF_SHUT * (1 - most / _LOUD_GAP)))
    closing = [p for p in phones if p.name in _CLOSING and _is_dip(p, loud)]
    press = _trapezoids(count, closing, _PARTING_S)
    gap = gap * (1 - press)
    rest = speech * speech
    return Speaking(
        gap=gap.astype(np.float32),
        spread=rest * smooth(_steps(count, [(p, s.spread) for p, s in shapes]), _SHAPE_SIGMA_S * RATE),
        round=rest * smooth(_steps(count, [(p, s.round) for p, s in shapes]), _SHAPE_SIGMA_S * RATE),
        tongue=smooth(_steps(count, [(p, s.tongue) for p, s in shapes]), _GAP_SIGMA_S * RATE),
        press=press,
        shut=np.maximum(shut, press),
        energy=energy,
        closures=tuple((p.start + p.stop) / 2 for p in closing),
    )


def _steps(count: int, values: Sequence[tuple[Phone, float]]) -> Floats:
    track = np.zeros(count, np.float32)
    for phone, value in values:
        track[round(phone.start * RATE) : round(phone.stop * RATE)] = value
    return track


def _is_dip(phone: Phone, loud: Floats) -> bool:
    """Return whether it is quieter during the sound than around it, as it is while lips are shut."""
    first, last = round(phone.start * RATE), max(round(phone.stop * RATE), round(phone.start * RATE) + 1)
    around = loud[max(first - round(_AROUND_S * RATE), 0) : last + round(_AROUND_S * RATE)]
    inside = loud[first:last]
    return bool(len(inside) and inside.mean() <= _DIP * around.max())


def _trapezoids(count: int, phones: Sequence[Phone], margin: float = 0.0) -> Floats:
    """Return a track `(count,)` that is 1 in each sound and falls to 0 in ramps on both sides.

    The plateau ends `margin` before the sound does, but lasts at least `_PLATEAU_S`.
    """
    track = np.zeros(count, np.float32)
    time = (np.arange(count) + 0.5) / RATE
    for phone in phones:
        middle, half = (phone.start + phone.stop) / 2, max((phone.stop - phone.start) / 2 - margin, _PLATEAU_S / 2)
        near = slice(max(int((middle - half - _RAMP_S) * RATE), 0), int((middle + half + _RAMP_S) * RATE) + 2)
        ramp = smoothstep((half + _RAMP_S - np.abs(time[near] - middle)) / _RAMP_S)
        track[near] = np.maximum(track[near], ramp)
    return track
