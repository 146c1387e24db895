"""The face's motion in every frame: speech, emotion and other motion combined."""

from dataclasses import dataclass

import numpy as np

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.brows import brow_room
from dice_talk.lite.curves import limited
from dice_talk.lite.expressions import EXPRESSIONS, Expression
from dice_talk.lite.fields import SKIN
from dice_talk.lite.motion import Seconds, blinks, ease, glances, head_motion, lid_positions
from dice_talk.lite.rig import Rig
from dice_talk.lite.visemes import Speaking
from dice_talk.options import RenderOptions

_EMO_SCALE, _REF_SCALE = 6.0, 3.0
"""Defaults of the options, at which amplitudes are as in the tables."""
_HOLD_PER_REF = 0.08
"""Share by which each further unit of `ref_scale` reduces every departure from the portrait."""
_ONSET_S = 0.8
"""Seconds in which the portrait's expression changes to the emotion's."""
_JAW_SHARE = 0.55
"""Share of the lower lip's motion that chin and jaw follow."""
_ROUND_WIDTH, _ROUND_VOLUME = -0.30, 0.006
"""Full rounding: change of the mouth's half width as a share of it, and of lip volume in face heights."""
_PRESSED = -0.007
"""Change of lip volume in face heights while lips are pressed together and become thinner."""
_EYE_DEPTH = 0.07
"""Face heights from the eye's surface to its centre, which determine how far the iris moves back when the head turns.
"""
_EMOTION_ROOM, _MOTION_ROOM, _MOUTH_ROOM = 0.3, 1.0, 0.3
"""How far emotion, head motion and mouth opening can exceed their strength in the tables. Faces have limits, and the
mouth reaches its own first.
"""
_WIDE, _GAP_ROOM = 0.085, 0.03
"""Opening in face heights above which the jaw resists, and the most that it still gives."""
_TURNED, _TURNED_LEAST = (0.7, 1.4), 0.3
"""`Canvas.turn` between which all motion shrinks, and the share that remains. Seen from the side, the mouth and one eye
lie on the outline of the face, which tears if they move far.
"""
_BROW_SINK = 1.35
"""Largest downward motion of a brow, as a multiple of `brow_room`. Further down, the skin above the lid would fold."""


@dataclass(frozen=True)
class Performance:
    """Parameters of every frame.

    For the units see `fields.SKIN`, `head.HEAD`, `mouth.draw_mouth`, `lids.place_lids`, `lids.draw_eye` and
    `furrows.draw_furrows`.
    """

    skin: Floats  # (F, K)
    head: Floats  # (F, 5)
    gap: Floats  # (F,)
    tongue: Floats
    shut: Floats
    raised: Floats
    squint: Floats
    gaze: Floats  # (F, 2)
    frown: Floats  # (F,)
    wrinkled: Floats
    blinks: tuple[float, ...]  # seconds
    closures: tuple[float, ...]  # seconds at which lips are shut on p, b, m

    def __len__(self) -> int:
        return len(self.gap)


def perform(rig: Rig, speaking: Speaking, frames: int, options: RenderOptions) -> Performance:
    """Compute `frames` frames at `options.fps`. Everything random is derived from `options.seed`."""
    expression = EXPRESSIONS[options.emotion]
    times = (np.arange(frames) + 0.5) / options.fps
    rng = np.random.default_rng(options.seed)
    hold = 1 / (1 + _HOLD_PER_REF * max(options.ref_scale - _REF_SCALE, -_REF_SCALE))
    least, most = _TURNED
    calm = 1 - (1 - _TURNED_LEAST) * float(np.clip((rig.canvas.turn - least) / (most - least), 0, 1))
    emotional = calm * _at_most(options.emo_scale / _EMO_SCALE * hold, _EMOTION_ROOM)
    strength = emotional * ease(times, _ONSET_S)
    starts = blinks(frames / options.fps, expression.blinks, rng)
    gaze = glances(times, rng)
    motion = head_motion(times, speaking.energy, rng)
    lively = np.float32(calm * _at_most(options.dynamic_scale * hold, _MOTION_ROOM))
    opening = 1 + (expression.opening - 1) * emotional
    opening *= calm * _at_most(0.5 + 0.5 * options.dynamic_scale * hold, _MOUTH_ROOM)
    track = _Tracks(speaking, times)
    gap = limited(track(speaking.gap) * np.float32(opening), _WIDE, _GAP_ROOM)
    head = np.stack([motion.yaw, motion.pitch, motion.roll, motion.shift_x, motion.shift_y], axis=1)
    head *= lively * np.float32(expression.liveliness)
    head[:, 1] += np.radians(expression.pitch) * strength
    head[:, 2] += np.radians(expression.roll) * strength
    gaze = gaze * lively - head[:, [0, 1]] * (_EYE_DEPTH, -_EYE_DEPTH) * 0.5
    return Performance(
        skin=_skin(rig, expression, track, speaking, gap, strength),
        head=head.astype(np.float32),
        gap=gap.astype(np.float32),
        tongue=track(speaking.tongue),
        shut=lid_positions(times, starts),
        raised=(expression.raised * strength).astype(np.float32),
        squint=(expression.squint * strength).astype(np.float32),
        gaze=gaze.astype(np.float32),
        frown=(expression.frown * strength).astype(np.float32),
        wrinkled=(expression.wrinkled * strength).astype(np.float32),
        blinks=tuple(float(start) for start in starts),
        closures=speaking.closures,
    )


def _at_most(factor: float, room: float) -> float:
    return float(limited(np.array([factor], np.float32), 1.0, room)[0])


@dataclass(frozen=True)
class _Tracks:
    """Resamples a 100 Hz track at the times of the frames."""

    speaking: Speaking
    times: Seconds

    def __call__(self, track: Floats) -> Floats:
        clock = (np.arange(len(track)) + 0.5) / RATE
        return np.interp(self.times, clock, track).astype(np.float32)


def _skin(
    rig: Rig, expression: Expression, track: _Tracks, speaking: Speaking, gap: Floats, strength: Seconds
) -> Floats:
    """Return the skin parameters `(F, K)` of the expression and of speaking."""
    skin = np.zeros((len(gap), len(SKIN)), np.float32)
    for name, amount in expression.skin.items():
        lowest = -_BROW_SINK * brow_room(rig.canvas) if name.startswith("brow") else -np.inf
        skin[:, SKIN.index(name)] = np.maximum(amount * strength, lowest)
    taken_back = expression.takes_back_smile * strength
    for name, amount in zip(("corner_up", "corner_out"), rig.smile, strict=True):
        for side in ("left", "right"):
            skin[:, SKIN.index(f"{name}_{side}")] -= amount * taken_back
    half = rig.mouth_half_width
    rounded = track(speaking.round)
    skin[:, SKIN.index("jaw")] += _JAW_SHARE * gap
    skin[:, SKIN.index("mouth_width")] += track(speaking.spread) + _ROUND_WIDTH * half * rounded
    skin[:, SKIN.index("lip_volume")] += _ROUND_VOLUME * rounded + _PRESSED * track(speaking.press)
    return skin
