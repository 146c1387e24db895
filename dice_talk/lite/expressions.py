"""The eight emotions as positions of brows, lids, mouth, nose and head, in face heights and degrees."""

from dataclasses import dataclass, field

from dice_talk.emotions import Emotion


@dataclass(frozen=True)
class Expression:
    """An emotion at full strength (`emo_scale` 6)."""

    skin: dict[str, float] = field(default_factory=dict)  # parameters of `fields.SKIN`, in face heights
    raised: float = 0.0  # upper lids, face heights
    squint: float = 0.0  # lower lids up, face heights
    frown: float = 0.0  # depth of the lines between the brows
    wrinkled: float = 0.0  # depth of the lines across the nose
    pitch: float = 0.0  # degrees, chin down
    roll: float = 0.0  # degrees
    opening: float = 1.0  # factor on the mouth's opening
    blinks: float = 1.0  # factor on the blink rate
    liveliness: float = 1.0  # factor on the head's motion
    takes_back_smile: float = 1.0  # share of the portrait's own smile that is removed


def _corners(out: float, up: float) -> dict[str, float]:
    return {
        "corner_out_left": out,
        "corner_out_right": out,
        "corner_up_left": up,
        "corner_up_right": up,
    }


def _brows(inner: float, outer: float, arch: float = 0.0) -> dict[str, float]:
    return {
        "brow_inner": inner,
        "brow_outer_left": outer,
        "brow_outer_right": outer,
        "brow_arch_left": arch,
        "brow_arch_right": arch,
    }


EXPRESSIONS = {
    Emotion.NEUTRAL: Expression(takes_back_smile=0.4),
    Emotion.HAPPY: Expression(
        skin=_corners(0.031, 0.036) | {"cheek_up": 0.022, "nose_up": 0.005} | _brows(0.006, 0.008, 0.003),
        raised=-0.003,
        squint=0.012,
        roll=1.0,
        opening=1.1,
        liveliness=1.2,
        takes_back_smile=0.3,  # a portrait that already smiles has less far to go
    ),
    Emotion.SAD: Expression(
        skin=_corners(-0.006, -0.032) | _brows(0.037, -0.018) | {"brow_in": 0.010, "chin_up": 0.012},
        raised=-0.010,
        pitch=3.0,
        roll=-1.5,
        opening=0.85,
        blinks=0.8,
        liveliness=0.6,
    ),
    Emotion.ANGRY: Expression(
        skin=_corners(-0.010, -0.014)
        | _brows(-0.042, 0.010, 0.004)
        | {"brow_in": 0.026, "lip_volume": -0.010, "nose_up": 0.010},
        raised=-0.002,
        squint=0.012,
        frown=1.0,
        pitch=3.0,
        blinks=0.6,
        liveliness=1.1,
    ),
    Emotion.SURPRISED: Expression(
        skin=_corners(-0.010, -0.002) | _brows(0.042, 0.036, 0.011) | {"jaw": 0.012},
        raised=0.015,
        pitch=-2.0,
        opening=1.35,
        blinks=0.6,
    ),
    Emotion.DISGUSTED: Expression(
        skin=_corners(0.004, -0.020)
        | _brows(-0.028, -0.018)
        | {"nose_up": 0.034, "lip_up": 0.028, "cheek_up": 0.016, "brow_in": 0.012, "chin_up": 0.014},
        raised=-0.006,
        squint=0.012,
        frown=0.4,
        wrinkled=1.0,
        pitch=-1.5,
        roll=1.5,
        opening=0.9,
    ),
    Emotion.FEAR: Expression(
        skin=_corners(0.022, -0.018) | _brows(0.046, 0.012) | {"brow_in": 0.014, "lip_volume": -0.004},
        raised=0.014,
        pitch=-1.0,
        opening=1.0,
        blinks=1.6,
        liveliness=0.9,
    ),
    Emotion.CONTEMPT: Expression(
        skin={
            "corner_out_right": 0.030,
            "corner_up_right": 0.048,
            "corner_out_left": -0.006,
            "corner_up_left": -0.016,
            "lip_volume": -0.006,
            "chin_up": 0.008,
            "cheek_up": 0.006,
            "brow_outer_right": 0.036,
            "brow_arch_right": 0.014,
            "brow_inner": -0.008,
            "brow_outer_left": -0.016,
            "brow_arch_left": -0.010,
        },
        raised=-0.014,
        squint=0.006,
        pitch=-3.5,
        roll=3.0,
        opening=0.85,
        blinks=0.8,
    ),
}
