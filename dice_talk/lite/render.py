"""One frame: eyes and mouth redrawn on the canvas, then one warp from the canvas into the picture."""

from collections.abc import Iterator

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.canvas import Floats
from dice_talk.lite.eyes import draw_eye
from dice_talk.lite.mouth import draw_mouth
from dice_talk.lite.performance import Performance
from dice_talk.lite.rig import Rig


def frames(rig: Rig, performance: Performance) -> Iterator[Pixels]:
    """RGB frames `(H, W, 3)` one by one; a frame may be kept."""
    canvas = rig.canvas.pixels.copy()
    for i in range(len(performance)):
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
    """The canvas, moved, over the untouched picture. Fields are read at the target, which for small motion is where
    they put the source.
    """
    rows, columns = rig.nodes.shape[:2]
    moved = -np.tensordot(head, rig.head, axes=1)
    face = np.tensordot(skin, rig.skin, axes=1)
    moved -= cv2.remap(face, (rig.nodes + moved) / np.float32(rig.grid.step), None, cv2.INTER_LINEAR)
    height, width = rig.base.shape[:2]
    where = cv2.resize(moved.reshape(rows, columns, 2), (width, height), interpolation=cv2.INTER_LINEAR)
    where += rig.base
    warped = cv2.remap(canvas, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    frame = rig.picture.copy()
    part = frame[rig.area]
    own = part[rig.edge]
    mixed = own + (warped[rig.edge] - own.astype(np.float32)) * rig.edge_share
    cv2.copyTo(warped, rig.moving, part)
    part[rig.edge] = (mixed + 0.5).astype(np.uint8)
    return frame
