"""Everything about a portrait that does not change from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face import Box
from dice_talk.face_models import Mask, Points
from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas, make_canvas
from dice_talk.lite.curves import bounds, smoothstep
from dice_talk.lite.eyes import Eye, make_eyes
from dice_talk.lite.fields import skin_fields
from dice_talk.lite.furrows import Furrows, make_furrows
from dice_talk.lite.grid import Grid, make_grid
from dice_talk.lite.head import follow, head_fields
from dice_talk.lite.mouth import Mouth, make_mouth

_NODE_STEP = 4
"""Video pixels between the points where motion is worked out; in between it is linear."""
_SUPPORT = 0.004
"""Motion in face heights per unit of parameter below which a pixel stays the portrait's own."""
_FEATHER = 0.02
_EDGE = 0.14
"""Face heights from the video's edge over which the head's motion grows to its full size."""
_NEIGHBOUR_RADIUS = 0.75
"""Of another face's box: what of a neighbour must not move."""
_PLAIN_MOUTH = (0.012, 0.150)
"""Face heights by which the corners lie above the lips' middle, and half the width, of a mouth at rest."""
_FULL_SMILE, _MOST_SMILE = 0.03, 0.05
"""Face heights of lift from which a wide mouth is a smile's, and most of a smile that can be taken back: more of a
laugh would pull the mouth out of shape.
"""


Index = NDArray[np.intp]


@dataclass(frozen=True)
class Rig:
    """A portrait ready to be moved."""

    picture: Pixels  # (H, W, 3) at the video's size
    canvas: Canvas
    grid: Grid
    skin: Floats  # (K, h, w, 2) in steps of the grid, on the part of it where skin moves
    skin_origin: Floats  # (2,) column and row of the grid at which that part begins
    mouth: Mouth
    eyes: tuple[Eye, Eye]
    furrows: Furrows
    area: tuple[slice, slice]  # rows and columns of the picture that move
    nodes: Floats  # (n, m, 2) the area's nodes, in steps of the grid from `skin_origin`
    head: Floats  # (5, n, m, 2) at the nodes, in steps of the grid
    base: Floats  # (a, b, 2) canvas position of the area's pixels
    moving: Pixels  # (a, b) 255 where the moved head shows
    edge: Index  # (e,) those of the area's values `(a, b, 3)`, counted through, that mix head and picture
    edge_share: Floats  # (e,) how much of the moved head they show
    edge_own: Floats  # (e,) the picture's part of them, and half a step for rounding

    @property
    def mouth_half_width(self) -> float:
        """In face heights."""
        corners = self.canvas.points[[at.LEFT_CORNER, at.RIGHT_CORNER], 0]
        return float(corners[1] - corners[0]) / 2 / self.canvas.unit

    @property
    def smile(self) -> tuple[float, float]:
        """How far the portrait's smile has taken the mouth's corners up and out, in face heights."""
        point, unit = self.canvas.points, self.canvas.unit
        corners = point[[at.LEFT_CORNER, at.RIGHT_CORNER], 1].mean()
        lifted = float(point[[at.INNER_LIP_TOP, at.INNER_LIP_BOTTOM], 1].mean() - corners) / unit - _PLAIN_MOUTH[0]
        widened = self.mouth_half_width - _PLAIN_MOUTH[1]
        share = min(max(lifted / _FULL_SMILE, 0.0), 1.0)
        return min(max(lifted, 0.0), _MOST_SMILE), min(max(widened, 0.0) * share, _MOST_SMILE)


def make_rig(picture: Pixels, small: Pixels, points: Points, mask: Mask, others: Sequence[Box]) -> Rig:
    """`picture`: the portrait at full resolution, RGB, with `points`, `mask (H, W)` and `others` (faces) in its pixels;
    `small`: the same at the video's size.
    """
    height, width = small.shape[:2]
    canvas = make_canvas(picture, points, width, height)
    grid = make_grid(canvas)
    to_video = _video_from_picture(picture, width, height)
    weights = follow(canvas, grid, _onto_grid(canvas, grid, mask, to_video), _neighbours(canvas, others, to_video))
    skin = skin_fields(canvas, grid) * weights.person[..., None]
    follows = weights.head * _held_at_edges(canvas, grid, width, height)
    head = head_fields(canvas, grid, follows)
    skin_moves = np.abs(skin).max(axis=0).max(axis=-1) / canvas.unit
    share = _moving_share(canvas, grid, np.maximum(follows, skin_moves), width, height)
    area = _at_least_a_pixel(bounds(share))
    nodes, base = _positions(canvas, area)
    face = _at_least_a_pixel(bounds(skin_moves > _SUPPORT / 2))
    head_at_nodes = np.stack([_sample(field, nodes, grid.step) for field in head])
    inside = share[area]
    mixed = np.flatnonzero((inside > 0) & (inside < 1))
    edge, edge_share = (3 * mixed[:, None] + np.arange(3)).ravel(), np.repeat(inside.ravel()[mixed], 3)
    origin = np.array([face[1].start, face[0].start], np.float32)
    return Rig(
        picture=small,
        canvas=canvas,
        grid=grid,
        skin=np.ascontiguousarray(skin[:, face[0], face[1]] / np.float32(grid.step)),
        skin_origin=origin,
        mouth=make_mouth(canvas),
        eyes=make_eyes(canvas),
        furrows=make_furrows(canvas),
        area=area,
        nodes=nodes / np.float32(grid.step) - origin,
        head=head_at_nodes / np.float32(grid.step),
        base=base,
        moving=np.where(inside > 0, 255, 0).astype(np.uint8),
        edge=edge,
        edge_share=edge_share,
        edge_own=small[area].reshape(-1)[edge] * (1 - edge_share) + np.float32(0.5),
    )


def _at_least_a_pixel(part: tuple[slice, slice]) -> tuple[slice, slice]:
    """`part`, or a corner where it is empty: the face is too small, or too far outside, for any motion to show."""
    rows, columns = part
    return part if rows.stop and columns.stop else (slice(0, 1), slice(0, 1))


def _video_from_picture(picture: Pixels, width: int, height: int) -> Floats:
    """Takes a pixel of the full picture to one of the video, `(3, 3)`."""
    return np.diag([width / picture.shape[1], height / picture.shape[0], 1]).astype(np.float32)


def _held_at_edges(canvas: Canvas, grid: Grid, width: int, height: int) -> Floats:
    """0 at the video's edges, 1 further in, `(h, w)`: hair that an edge cuts off stretches there, since nobody
    knows what lies beyond.
    """
    to_video = cv2.invertAffineTransform(canvas.affine)
    where = cv2.transform(np.stack([grid.x, grid.y], axis=-1), to_video)
    inside = np.minimum(where, (width - 1, height - 1) - where).min(axis=-1)
    scale = float(np.sqrt(abs(np.linalg.det(canvas.affine[:, :2]))))
    return smoothstep((inside * scale / (_EDGE * canvas.unit)).astype(np.float32))


def _onto_grid(canvas: Canvas, grid: Grid, mask: Mask, to_video: Floats) -> Mask:
    """The person mask seen from the grid's nodes."""
    onto = np.vstack([canvas.affine, (0, 0, 1)]) @ to_video
    onto[:2] /= grid.step
    size = (grid.x.shape[1], grid.x.shape[0])
    blurred = cv2.blur(mask, (5, 5)) if min(mask.shape) > 600 else mask
    onto_grid: Mask = cv2.warpAffine(blurred, onto[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return onto_grid


def _neighbours(canvas: Canvas, others: Sequence[Box], to_video: Floats) -> list[tuple[float, float, float]]:
    onto = np.vstack([canvas.affine, (0, 0, 1)]) @ to_video
    scale = float(np.sqrt(abs(np.linalg.det(onto[:2, :2]))))
    found = []
    for box in others:
        x, y, _ = onto @ ((box.left + box.right) / 2, (box.top + box.bottom) / 2, 1)
        found.append((float(x), float(y), max(box.width, box.height) * scale * _NEIGHBOUR_RADIUS))
    return found


def _moving_share(canvas: Canvas, grid: Grid, motion: Floats, width: int, height: int) -> Floats:
    """How much of the moved head each pixel of the video shows, `(height, width)`; 0 where nothing ever moves.
    `motion`: at the grid's nodes, in face heights per unit of parameter.
    """
    share = np.clip((motion - _SUPPORT) / _FEATHER, 0, 1).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return _sample(share, cv2.transform(np.stack([x, y], axis=-1), canvas.affine), grid.step)


def _positions(canvas: Canvas, area: tuple[slice, slice]) -> tuple[Floats, Floats]:
    """Canvas positions of nodes, placed where `cv2.resize` reads them, and of every pixel of the area."""
    top, bottom, left, right = area[0].start, area[0].stop, area[1].start, area[1].stop
    y, x = np.mgrid[top:bottom, left:right]
    rows, columns = -(-(bottom - top) // _NODE_STEP), -(-(right - left) // _NODE_STEP)
    node_y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows - 0.5
    node_x = left + (np.arange(columns) + 0.5) * (right - left) / columns - 0.5
    nodes, pixels = (np.stack(pair, axis=-1, dtype=np.float32) for pair in (np.meshgrid(node_x, node_y), (x, y)))
    return cv2.transform(nodes, canvas.affine), cv2.transform(pixels, canvas.affine)


def _sample(field: Floats, where: Floats, step: float) -> Floats:
    """A grid's values at canvas positions `where (..., 2)`; 0 outside the canvas."""
    read: Floats = cv2.remap(field.astype(np.float32), where / np.float32(step), None, cv2.INTER_LINEAR)
    return read
