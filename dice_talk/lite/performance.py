"""The face's motion in every frame: speech, emotion and other motion combined."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.brows import brow_room
from dice_talk.lite.course import Course, make_course
from dice_talk.lite.curves import limited, smooth
from dice_talk.lite.expressions import EXPRESSIONS, Expression
from dice_talk.lite.fields import SKIN
from dice_talk.lite.head import HEAD
from dice_talk.lite.motion import Seconds, blinks, breath, brow_flashes, ease, gaze, head_motion, lid_positions, surge
from dice_talk.lite.relief import folds
from dice_talk.lite.rhythm import Rhythm, find_rhythm
from dice_talk.lite.rig import Rig
from dice_talk.lite.visemes import Speaking
from dice_talk.options import RenderOptions

_EMO_SCALE, _REF_SCALE = 6.0, 3.0
"""Defaults of the options, at which amplitudes are as in the tables."""
_HOLD_PER_REF = 0.08
"""Share by which each further unit of `ref_scale` reduces every departure from the portrait."""
_CALMED_S = 0.5
"""Seconds in which the portrait's own expression is taken back."""
_TAKES_BACK = 1.3
"""How much of the portrait's own smile is taken back. More than all of it, because some of its folds remain."""
_SMILING_CHEEKS, _SMILING_LIDS = 0.015, 0.005
"""Face heights by which a full smile of the portrait has raised the cheeks and the lower lids."""
_JAW_SHARE = 0.55
"""Share of the lower lip's motion that chin and jaw follow."""
_ROUND_WIDTH, _ROUND_VOLUME = -0.30, 0.006
"""Full rounding: change of the mouth's half width as a share of it, and of lip volume in face heights."""
_PRESSED = -0.007
"""Change of lip volume in face heights while lips are pressed together and become thinner."""
_EYE_RADIUS, _EYES_STAY = 0.067, 0.7
"""Radius of the eyeball in face heights (12 of 180 mm), and the share of a turn of the head that the eyes undo."""
_BREATH = 0.022
"""Face heights by which the shoulders rise and fall with a breath."""
_VOICED_S, _VOICED, _PARTED_LEAST = 0.06, 0.8, 0.5
"""Sigma and height of the loudness at which an emotion parts the lips in full, and the share of it in silence."""
_BREATH_GAP, _BREATHES = 0.012, (0.18, 0.12, 0.1)
"""Opening of the mouth in face heights for a breath before a phrase; its rise, stay and fall in seconds."""
_FROWN, _FROWN_LIGHT, _FROWN_BULGE = ("brow_in", "brow_down"), 0.6, 2.2
"""Parameters that fold the skin between the brows, the strength of its light, and the size of its bulges."""
_FLASH = 0.014
"""Face heights by which an accent raises the brows."""
_EMOTION_ROOM, _MOTION_ROOM, _MOUTH_ROOM = 0.3, 1.0, 0.3
"""How far emotion, head motion and mouth opening can exceed their strength in the tables. Faces have limits, and the
mouth reaches its own first.
"""
_WIDE, _WIDEST, _GAP_ROOM = 0.085, 0.115, 0.03
"""Openings in face heights above which the jaw resists while speaking and in all, and the most that it still gives."""
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
    `relief.light`.
    """

    skin: Floats  # (F, K)
    head: Floats  # (F, 6)
    gap: Floats  # (F,)
    tongue: Floats
    shut: Floats
    raised: Floats
    squint: Floats
    gaze: Floats  # (F, 2)
    calm: Floats  # (F,) share of the portrait's own folds that is gone
    folded: Floats  # (F,) share of the emotion's folds that is there
    folds: Floats  # (h, w) at the nodes of `Rig.skin`
    creases: dict[str, float]  # see `relief.creases`
    blinks: tuple[float, ...]  # seconds
    closures: tuple[float, ...]  # seconds at which lips are shut on p, b, m

    def __len__(self) -> int:
        return len(self.gap)


@dataclass(frozen=True)
class _Scene:
    """What all parts of a performance depend on."""

    rig: Rig
    speaking: Speaking
    expression: Expression
    times: Seconds
    emotional: float  # strength of the emotion
    lively: float  # of motion
    opening: float  # factor on the mouth's opening
    course: Course
    rhythm: Rhythm

    def track(self, track: Floats) -> Floats:
        """Resample a 100 Hz track at the times of the frames."""
        clock = (np.arange(len(track)) + 0.5) / RATE
        return np.interp(self.times, clock, track).astype(np.float32)

    def felt(self, side: int = 0) -> Seconds:
        """Return the strength of the emotion, `(F,)`. `side`: -1 for the left half of the face, 1 for the right."""
        return self.emotional * self.course(self.times, side)

    @property
    def calm(self) -> Seconds:
        """The share of the portrait's own folds that is taken back, `(F,)`."""
        return min(self.emotional * self.expression.takes_back, 1.0) * ease(self.times, _CALMED_S)


def perform(rig: Rig, speaking: Speaking, frames: int, options: RenderOptions) -> Performance:
    """Compute `frames` frames at `options.fps`. Everything random is derived from `options.seed` and the portrait."""
    rng = _generator(rig, options)
    scene = _scene(rig, speaking, (np.arange(frames) + 0.5) / options.fps, options, rng)
    starts = blinks(frames / options.fps, scene.expression.blinks, scene.rhythm.ends, rng)
    gap, head, strength = _gap(scene), _head(scene, rng), scene.felt()
    return Performance(
        skin=_skin(scene, gap, rng),
        head=head,
        gap=gap,
        tongue=scene.track(speaking.tongue),
        shut=lid_positions(scene.times, starts),
        raised=(scene.expression.raised * strength).astype(np.float32),
        squint=(scene.expression.squint * strength - _SMILING_LIDS * rig.smiling * scene.calm).astype(np.float32),
        gaze=_gaze(scene, head, rng),
        calm=(rig.smiling * scene.calm).astype(np.float32),
        folded=strength.astype(np.float32),
        folds=_folds(rig, scene.expression),
        creases=scene.expression.creases,
        blinks=tuple(float(start) for start in starts),
        closures=speaking.closures,
    )


def _generator(rig: Rig, options: RenderOptions) -> np.random.Generator:
    """Return the source of all chance. With one seed, two portraits do not move in step."""
    if options.seed is None:
        return np.random.default_rng()
    return np.random.default_rng((options.seed, crc32(rig.picture.tobytes())))


def _scene(rig: Rig, speaking: Speaking, times: Seconds, options: RenderOptions, rng: np.random.Generator) -> _Scene:
    expression, rhythm = EXPRESSIONS[options.emotion], find_rhythm(speaking.energy)
    hold = 1 / (1 + _HOLD_PER_REF * max(options.ref_scale - _REF_SCALE, -_REF_SCALE))
    least, most = _TURNED
    steady = 1 - (1 - _TURNED_LEAST) * float(np.clip((rig.canvas.turn - least) / (most - least), 0, 1))
    emotional = steady * _at_most(options.emo_scale / _EMO_SCALE * hold, _EMOTION_ROOM)
    opening = steady * _at_most(0.5 + 0.5 * options.dynamic_scale * hold, _MOUTH_ROOM)
    return _Scene(
        rig=rig,
        speaking=speaking,
        expression=expression,
        times=times,
        emotional=emotional,
        lively=steady * _at_most(options.dynamic_scale * hold, _MOTION_ROOM),
        opening=opening * (1 + (expression.opening - 1) * emotional),
        course=make_course((*rhythm.accents, *rhythm.ends), rng),
        rhythm=rhythm,
    )


def _at_most(factor: float, room: float) -> float:
    return float(limited(np.array([factor], np.float32), 1.0, room)[0])


def _gap(scene: _Scene) -> Floats:
    """Return the opening of the mouth, `(F,)`: what is spoken, and how far the emotion or a breath parts the lips."""
    speaking = scene.speaking
    spoken = limited(scene.track(speaking.gap) * np.float32(scene.opening), _WIDE, _GAP_ROOM)
    voiced = np.clip(scene.track(smooth(speaking.energy, _VOICED_S * RATE)) / _VOICED, 0, 1)
    parted = scene.expression.parted * scene.felt() * (_PARTED_LEAST + (1 - _PARTED_LEAST) * voiced)
    for start in scene.rhythm.starts:
        breathed = _BREATH_GAP * min(scene.lively, 1.0) * surge(scene.times, start - sum(_BREATHES), *_BREATHES)
        parted = np.maximum(parted, breathed)
    parted = (parted * (1 - scene.track(speaking.shut))).astype(np.float32, copy=False)
    return limited(spoken + parted, _WIDEST, _GAP_ROOM)


def _head(scene: _Scene, rng: np.random.Generator) -> Floats:
    """Return the parameters of the head, `(F, 6)`."""
    expression, strength = scene.expression, scene.felt()
    motion = head_motion(scene.times, scene.speaking.energy, scene.rhythm, rng)
    breathing = _BREATH * breath(scene.times, rng)
    moves = np.stack([motion.yaw, motion.pitch, motion.roll, motion.shift_x, motion.shift_y, breathing], axis=1)
    moves *= np.float32(scene.lively)
    moves[:, :5] *= np.float32(expression.liveliness)
    moves[:, HEAD.index("pitch")] += np.radians(expression.pitch) * strength
    moves[:, HEAD.index("roll")] += np.radians(expression.roll) * strength
    return moves.astype(np.float32)


def _gaze(scene: _Scene, head: Floats, rng: np.random.Generator) -> Floats:
    """Return the shift of the irises, `(F, 2)` in face heights. While the head turns, they stay with the viewer."""
    angles = gaze(scene.times, rng) * min(scene.lively, 1.2) - _EYES_STAY * head[:, :2]
    angles[:, 1] += np.radians(scene.expression.look_down) * scene.felt()
    shifts: Floats = (_EYE_RADIUS * np.sin(angles)).astype(np.float32)
    return shifts


def _skin(scene: _Scene, gap: Floats, rng: np.random.Generator) -> Floats:
    """Return the skin parameters `(F, K)` of the expression and of speaking."""
    rig, speaking, track = scene.rig, scene.speaking, scene.track
    skin = np.zeros((len(gap), len(SKIN)), np.float32)
    felt = {side: scene.felt(side) for side in (-1, 0, 1)}
    for name, amount in scene.expression.skin.items():
        lowest = -_BROW_SINK * brow_room(rig.canvas) if name.startswith("brow") else -np.inf
        skin[:, SKIN.index(name)] = np.maximum(amount * felt[_side(name)], lowest)
    for name, amount in (*_own_smile(rig).items(), ("cheek_up", _SMILING_CHEEKS * rig.smiling)):
        skin[:, SKIN.index(name)] -= _TAKES_BACK * amount * scene.calm
    flash = brow_flashes(scene.times, scene.rhythm.accents, rng) * np.float32(min(scene.lively, 1.2) * _FLASH)
    for name in ("brow_inner", "brow_outer_left", "brow_outer_right"):
        skin[:, SKIN.index(name)] += flash
    rounded = track(speaking.round)
    skin[:, SKIN.index("jaw")] += _JAW_SHARE * gap
    skin[:, SKIN.index("mouth_width")] += track(speaking.spread) + _ROUND_WIDTH * rig.mouth_half_width * rounded
    skin[:, SKIN.index("lip_volume")] += _ROUND_VOLUME * rounded + _PRESSED * track(speaking.press)
    return skin


def _folds(rig: Rig, expression: Expression) -> Floats:
    """Return the light on the folds of an expression; see `relief.folds`. Raised brows make none: their hair would."""
    frown = [expression.skin.get(name, 0.0) * (name in _FROWN) for name in SKIN]
    others = [expression.skin.get(name, 0.0) * (not name.startswith("brow")) for name in SKIN]
    return folds(rig.skin, others) + np.float32(_FROWN_LIGHT) * folds(rig.skin, frown, _FROWN_BULGE)


def _side(name: str) -> int:
    """Return the side of the face that a parameter moves: -1 left, 1 right, 0 both."""
    return {"left": -1, "right": 1}.get(name.rpartition("_")[2], 0)


def _own_smile(rig: Rig) -> dict[str, float]:
    """Return the parameters of the portrait's own smile."""
    return {
        f"{name}_{side}": amount
        for name, amount in zip(("corner_up", "corner_out"), rig.smile, strict=True)
        for side in ("left", "right")
    }
