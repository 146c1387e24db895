"""One frame: eyes and mouth redrawn on the canvas, then one warp from the canvas into the picture."""

from collections.abc import Iterator

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.canvas import Floats
from dice_talk.lite.eyes import draw_eye
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
    for i in range(len(performance)):
        if performance.frown[i] or performance.wrinkled[i]:
            draw_furrows(rig.furrows, canvas, float(performance.frown[i]), float(performance.wrinkled[i]))
        for side, eye in enumerate(rig.eyes):
            draw_eye(
                eye,
                canvas,
                float(performance.shut[i]),
                float(performance.raised[i]),
                float(performance.squint[i, side]),
                (float(performance.gaze[i, 0]), float(performance.gaze[i, 1])),
            )
        draw_mouth(rig.mouth, canvas, float(performance.gap[i]), float(performance.tongue[i]))
        yield _warp(rig, canvas, performance.head[i], performance.skin[i])


def _warp(rig: Rig, canvas: Pixels, head: Floats, skin: Floats) -> Pixels:
    """The canvas, moved, over the untouched picture."""
    rows, columns = rig.nodes.shape[:2]
    turned = rig.nodes - _mix(head, rig.head)
    face = _mix(skin, rig.skin)
    source = turned - _read(face, turned, rig)
    for _ in range(_REFINEMENTS):
        source += _DAMPING * (turned - _read(face, source, rig) - source)
    moved = (source - rig.nodes).reshape(rows, columns, 2)
    height, width = rig.base.shape[:2]
    where = cv2.resize(moved, (width, height), interpolation=cv2.INTER_LINEAR)
    where += rig.base
    warped = cv2.remap(canvas, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    frame = rig.picture.copy()
    part = frame[rig.area]
    own = part[rig.edge]
    mixed = own + (warped[rig.edge] - own.astype(np.float32)) * rig.edge_share
    cv2.copyTo(warped, rig.moving, part)
    part[rig.edge] = (mixed + 0.5).astype(np.uint8)
    return frame


def _mix(amounts: Floats, fields: Floats) -> Floats:
    """Weighted sum. Not a matrix product: its library would take all cores for it, and the other task's too."""
    mixed: Floats = np.einsum("k,knmc->nmc", amounts, fields)
    return mixed


def _read(field: Floats, where: Floats, rig: Rig) -> Floats:
    read: Floats = cv2.remap(field, where / np.float32(rig.grid.step) - rig.skin_origin, None, cv2.INTER_LINEAR)
    return read
