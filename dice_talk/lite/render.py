"""Renders a frame: redraws eyes and mouth on the canvas, then warps the canvas into the picture once."""

from collections.abc import Iterator

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.arrays import Floats
from dice_talk.lite.furrows import draw_furrows
from dice_talk.lite.lids import draw_eye, place_lids
from dice_talk.lite.mouth import draw_mouth
from dice_talk.lite.performance import Performance
from dice_talk.lite.rig import Rig

_REFINEMENTS, _DAMPING = 3, 0.6
"""Fields say where skin goes, but a frame needs to know where it came from. The answer is found in damped steps, which
converge even where skin stretches to twice its length.
"""


def frames(rig: Rig, performance: Performance) -> Iterator[Pixels]:
    """Yield RGB frames `(H, W, 3)`. They are not reused, so the caller may keep them."""
    canvas = rig.canvas.pixels.copy()
    eyes = [eye for eye in rig.eyes if not eye.still]
    lids, placed = [], None
    for i in range(len(performance)):
        if performance.frown[i] or performance.wrinkled[i]:
            draw_furrows(rig.furrows, canvas, float(performance.frown[i]), float(performance.wrinkled[i]))
        place = (float(performance.shut[i]), float(performance.raised[i]), float(performance.squint[i]))
        if place != placed:  # only in a blink and until the emotion is complete
            lids, placed = [place_lids(eye, *place) for eye in eyes], place
        for eye, lid in zip(eyes, lids, strict=True):
            draw_eye(eye, lid, canvas, (float(performance.gaze[i, 0]), float(performance.gaze[i, 1])))
        draw_mouth(rig.mouth, canvas, float(performance.gap[i]), float(performance.tongue[i]))
        yield _warp(rig, canvas, performance.head[i], performance.skin[i])


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
