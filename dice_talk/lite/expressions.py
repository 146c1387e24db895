"""The eight emotions as positions of brows, lids, mouth, nose and head, in face heights and degrees.

The numbers in the comments are the action units of the Facial Action Coding System that an emotion consists of.
"""

from dataclasses import dataclass, field

from dice_talk.emotions import Emotion


@dataclass(frozen=True)
class Expression:
    """An emotion at full strength (`emo_scale` 6)."""

    skin: dict[str, float] = field(default_factory=dict)  # parameters of `fields.SKIN`, in face heights
    creases: dict[str, float] = field(default_factory=dict)  # depths of `relief.CREASES`
    raised: float = 0.0  # upper lids, face heights
    squint: float = 0.0  # lower lids up, face heights
    parted: float = 0.0  # face heights by which the lips part besides speech
    pitch: float = 0.0  # degrees, chin down
    roll: float = 0.0  # degrees
    look_down: float = 0.0  # degrees
    opening: float = 1.0  # factor on the mouth's opening in speech
    blinks: float = 1.0  # factor on the blink rate
    liveliness: float = 1.0  # factor on the head's motion
    takes_back: float = 1.0  # share of the portrait's own smile that is removed


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
    Emotion.NEUTRAL: Expression(),
    Emotion.HAPPY: Expression(  # 6, 12, 25
        skin=_corners(0.045, 0.057) | {"cheek_up": 0.036, "lip_up": 0.012} | _brows(0.004, 0.008, 0.003),
        creases={"nasolabial": 0.10},
        raised=-0.004,
        squint=0.014,
        parted=0.030,
        roll=1.0,
        opening=0.9,
        liveliness=1.2,
        takes_back=0.0,
    ),
    Emotion.SAD: Expression(  # 1, 4, 15, 17, 43
        skin=_corners(-0.010, -0.044) | _brows(0.054, -0.028) | {"brow_in": 0.012, "chin_up": 0.018},
        raised=-0.008,
        pitch=3.0,
        roll=-1.5,
        look_down=4.0,
        opening=0.85,
        blinks=0.8,
        liveliness=0.6,
    ),
    Emotion.ANGRY: Expression(  # 4, 5, 7, 10, 24
        skin=_corners(-0.014, -0.038)
        | _brows(-0.006, 0.020, 0.006)
        | {"brow_down": 0.056, "brow_in": 0.030, "lip_volume": -0.010, "nose_up": 0.030, "mouth_width": -0.030},
        creases={"frown": 0.22, "nasolabial": 0.08},
        raised=0.006,
        squint=0.014,
        pitch=3.5,
        blinks=0.6,
        liveliness=1.1,
    ),
    Emotion.SURPRISED: Expression(  # 1, 2, 5, 26
        skin=_corners(-0.014, -0.004) | _brows(0.062, 0.056, 0.011) | {"mouth_width": -0.036, "jaw": 0.004},
        raised=0.022,
        parted=0.098,
        pitch=-2.0,
        opening=1.0,
        blinks=0.6,
    ),
    Emotion.DISGUSTED: Expression(  # 4, 9, 10, 15, 17
        skin=_corners(0.000, -0.048)
        | _brows(-0.020, -0.010)
        | {
            "brow_down": 0.030,
            "nose_up": 0.070,
            "lip_up": 0.036,
            "cheek_up": 0.020,
            "brow_in": 0.016,
            "chin_up": 0.016,
        },
        creases={"frown": 0.15, "nasolabial": 0.16},
        raised=-0.004,
        squint=0.014,
        parted=0.012,
        pitch=-1.5,
        roll=1.5,
        opening=0.9,
    ),
    Emotion.FEAR: Expression(  # 1, 2, 4, 5, 20, 25
        skin=_corners(0.026, -0.030) | _brows(0.064, 0.000) | {"brow_in": 0.026, "mouth_width": 0.026, "lip_up": 0.012},
        raised=0.024,
        squint=-0.006,
        parted=0.036,
        pitch=-4.0,
        opening=0.8,
        blinks=1.4,
        liveliness=0.9,
    ),
    Emotion.CONTEMPT: Expression(  # 12 and 14 on one side
        skin={
            "corner_out_right": 0.030,
            "corner_up_right": 0.050,
            "corner_out_left": -0.006,
            "corner_up_left": -0.016,
            "lip_volume": -0.006,
            "chin_up": 0.008,
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
