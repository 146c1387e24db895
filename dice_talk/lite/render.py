"""Renders a frame: redraws eyes and mouth on the canvas, then warps the canvas into the picture once."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.arrays import Floats
from dice_talk.lite.eyes import Eye
from dice_talk.lite.lids import draw_eye, place_lids
from dice_talk.lite.mouth import Mouth, draw_mouth
from dice_talk.lite.performance import Performance
from dice_talk.lite.relief import creases, light_at, shed
from dice_talk.lite.rig import Rig

_REFINEMENTS, _DAMPING = 3, 0.6
"""Fields say where skin goes, but a frame needs to know where it came from. The answer is found in damped steps, which
converge even where skin stretches to twice its length.
"""

_LIGHT_STEPS = 40
"""Steps in which the light on the skin changes. Finer ones would not be seen, and each costs time."""


def frames(rig: Rig, performance: Performance) -> Iterator[Pixels]:
    """Yield RGB frames `(H, W, 3)`. They are not reused, so the caller may keep them."""
    skin = rig.canvas.pixels.copy()  # without moved eyes and lips, which are drawn from it
    canvas, mouth = skin.copy(), replace(rig.mouth, source=_part(skin, rig.mouth))
    eyes = [replace(eye, source=_part(skin, eye)) for eye in rig.eyes if not eye.still]
    light = light_at(rig.relief, performance.folds, rig.skin_origin, rig.grid.step)
    light += creases(rig.canvas, rig.relief, performance.creases)
    lids, placed, lit = [], None, (0, 0)
    for i in range(len(performance)):
        state = _steps(performance.calm[i]), _steps(performance.folded[i])
        if state != lit:
            shed(rig.relief, light, skin, state[0] / _LIGHT_STEPS, state[1] / _LIGHT_STEPS)
            canvas[rig.relief.box] = skin[rig.relief.box]
        place = (float(performance.shut[i]), float(performance.raised[i]), float(performance.squint[i]), state)
        if place != placed:
            lids, placed, lit = [place_lids(eye, *place[:3]) for eye in eyes], place, state
        for eye, lid in zip(eyes, lids, strict=True):
            draw_eye(eye, lid, canvas, (float(performance.gaze[i, 0]), float(performance.gaze[i, 1])))
        draw_mouth(
            mouth, canvas, *(float(track[i]) for track in (performance.gap, performance.tongue, performance.calm))
        )
        yield _warp(rig, canvas, performance.head[i], performance.skin[i])


def _part(skin: Pixels, drawn: Eye | Mouth) -> Pixels:
    """Return the part of the skin that an eye or the mouth is drawn from. It changes with the skin."""
    height, width = drawn.source.shape[:2]
    return skin[drawn.top : drawn.top + height, drawn.left : drawn.left + width]


def _steps(share: np.float32) -> int:
    return round(float(share) * _LIGHT_STEPS)


def _warp(rig: Rig, canvas: Pixels, head: Floats, skin: Floats) -> Pixels:
    """Warp the canvas over the unchanged picture."""
    turned = rig.nodes - _mix(head, rig.head)
    step = _mix(_DAMPING * skin, rig.skin)
    source = turned - _read(step, turned) * np.float32(1 / _DAMPING)
    turned *= _DAMPING
    for _ in range(_REFINEMENTS):
        read = _read(step, source)
        source *= 1 - _DAMPING
        source += turned
        source -= read
    source -= rig.nodes
    source *= rig.grid.step
    where = cv2.resize(source, rig.base.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    where += rig.base
    where = cv2.convertMaps(where, None, cv2.CV_16SC2)  # faster than the conversion inside `remap`
    warped = cv2.remap(canvas, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = warped.reshape(-1)
    values[rig.edge] = (rig.edge_own + values[rig.edge] * rig.edge_share).astype(np.uint8)
    frame = rig.picture.copy()
    cv2.copyTo(warped, rig.moving, frame[rig.area])
    return frame


def _mix(amounts: Floats, fields: Floats) -> Floats:
    """Return the weighted sum. A matrix product would use all cores, and so slow down another task."""
    mixed: Floats = np.einsum("k,knmc->nmc", amounts, fields)
    return mixed


def _read(field: Floats, where: Floats) -> Floats:
    read: Floats = cv2.remap(field, where, None, cv2.INTER_LINEAR)
    return read
