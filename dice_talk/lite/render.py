"""One frame: eyes and mouth redrawn on the canvas, then one warp from the canvas into the picture."""

from collections.abc import Iterator

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.arrays import Floats
from dice_talk.lite.eyes import draw_eye, place_lids
from dice_talk.lite.furrows import draw_furrows
from dice_talk.lite.mouth import draw_mouth
from dice_talk.lite.performance import Performance
from dice_talk.lite.rig import Rig

_REFINEMENTS, _DAMPING = 3, 0.6
"""Fields say where skin goes, a frame asks where it came from: steps towards the answer, damped to converge where skin
stretches to twice its length.
"""


def frames(rig: Rig, performance: Performance) -> Iterator[Pixels]:
    """RGB frames `(H, W, 3)` one by one; a frame may be kept."""
    canvas = rig.canvas.pixels.copy()
    eyes = [eye for eye in rig.eyes if not eye.still]
    lids, placed = [], None
    for i in range(len(performance)):
        if performance.frown[i] or performance.wrinkled[i]:
            draw_furrows(rig.furrows, canvas, float(performance.frown[i]), float(performance.wrinkled[i]))
        place = (float(performance.shut[i]), float(performance.raised[i]), float(performance.squint[i]))
        if place != placed:  # in a blink, and until the emotion is there; else lids stay where they are
            lids, placed = [place_lids(eye, *place) for eye in eyes], place
        for eye, lid in zip(eyes, lids, strict=True):
            draw_eye(eye, lid, canvas, (float(performance.gaze[i, 0]), float(performance.gaze[i, 1])))
        draw_mouth(rig.mouth, canvas, float(performance.gap[i]), float(performance.tongue[i]))
        yield _warp(rig, canvas, performance.head[i], performance.skin[i])


def _warp(rig: Rig, canvas: Pixels, head: Floats, skin: Floats) -> Pixels:
    """The canvas, moved, over the untouched picture."""
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
    where = cv2.convertMaps(where, None, cv2.CV_16SC2)  # what `remap` would do itself, more slowly
    warped = cv2.remap(canvas, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = warped.reshape(-1)
    values[rig.edge] = (rig.edge_own + values[rig.edge] * rig.edge_share).astype(np.uint8)
    frame = rig.picture.copy()
    cv2.copyTo(warped, rig.moving, frame[rig.area])
    return frame


def _mix(amounts: Floats, fields: Floats) -> Floats:
    """Weighted sum. Not a matrix product: its library would take all cores for it, and the other task's too."""
    mixed: Floats = np.einsum("k,knmc->nmc", amounts, fields)
    return mixed


def _read(field: Floats, where: Floats) -> Floats:
    read: Floats = cv2.remap(field, where, None, cv2.INTER_LINEAR)
    return read
