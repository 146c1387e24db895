"""The example portrait in one pose."""

from dataclasses import replace
from typing import Any

import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.fields import SKIN
from dice_talk.lite.head import HEAD
from dice_talk.lite.performance import Performance
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig


def still(rig: Rig, **changes: Any) -> Performance:
    """One frame of the portrait as it is, but for `changes`."""
    nothing = np.zeros(1, np.float32)
    rest = Performance(
        skin=np.zeros((1, len(SKIN)), np.float32),
        head=np.zeros((1, len(HEAD)), np.float32),
        gap=nothing + rig.mouth.rest,
        tongue=nothing,
        shut=nothing,
        raised=nothing,
        squint=np.zeros(1, np.float32),
        gaze=np.zeros((1, 2), np.float32),
        calm=nothing,
        folded=nothing,
        folds=np.zeros(rig.skin.shape[1:3], np.float32),
        creases={},
        blinks=(),
        closures=(),
    )
    return replace(rest, **changes)


def draw(rig: Rig, **changes: Any) -> Pixels:
    return next(frames(rig, still(rig, **changes)))


def on_video(rig: Rig, landmark: int) -> tuple[int, int]:
    """Column and row of a landmark."""
    matrix = np.vstack([rig.canvas.affine, (0, 0, 1)])
    x, y, _ = np.linalg.inv(matrix) @ (*rig.canvas.points[landmark], 1)
    return round(x), round(y)
