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
from dice_talk.lite.grid import Grid, make_grid
from dice_talk.lite.head import head_fields, head_weights
from dice_talk.lite.mouth import Mouth, make_mouth
from dice_talk.lite.relief import Relief, make_relief

_NODE_STEP = 4
"""Video pixels between the nodes at which motion is computed. Between them it is interpolated linearly."""
_SUPPORT = 0.004
"""Motion in face heights per unit of a parameter below which a pixel does not move at all."""
_FEATHER = 0.02
_EDGE = 0.14
"""Face heights from the edge of the video over which the head's motion grows to its full size."""
_NEIGHBOUR_RADIUS = 0.75
"""Radius around another face that must not move, as a share of the longer side of its box."""
_PLAIN_MOUTH = (0.012, 0.150)
"""A mouth at rest: face heights by which the corners lie above the middle of the lips, and half the width."""
_FULL_SMILE, _MOST_SMILE = 0.03, 0.05
"""Face heights by which the corners of a wide mouth are lifted in a full smile, and the largest smile that can be
removed. Removing more of a laugh would distort the mouth.
"""


Index = NDArray[np.intp]


@dataclass(frozen=True)
class Rig:
    """A portrait ready to be animated."""

    picture: Pixels  # (H, W, 3) at the video's size
    canvas: Canvas
    grid: Grid
    skin: Floats  # (K, h, w, 2) in grid steps, for the part of the grid where skin moves
    skin_origin: Floats  # (2,) column and row of the grid at which this part begins
    mouth: Mouth
    eyes: tuple[Eye, Eye]
    relief: Relief
    area: tuple[slice, slice]  # rows and columns of the picture that move
    nodes: Floats  # (n, m, 2) nodes of the area, in grid steps from `skin_origin`
    head: Floats  # (5, n, m, 2) at the nodes, in grid steps
    base: Floats  # (a, b, 2) canvas positions of the area's pixels
    moving: Pixels  # (a, b) 255 where the moved head shows
    edge: Index  # (e,) flat indices into the area's values `(a, b, 3)` that mix head and picture
    edge_share: Floats  # (e,) share of the moved head in them
    edge_own: Floats  # (e,) the picture's part of them, plus half a step for rounding

    @property
    def mouth_half_width(self) -> float:
        """Half the width of the mouth in face heights."""
        return _mouth_half_width(self.canvas)

    @property
    def smile(self) -> tuple[float, float]:
        """How far the portrait's smile has moved the corners of the mouth up and outwards, in face heights."""
        return _smile(self.canvas)

    @property
    def smiling(self) -> float:
        """How much the portrait smiles, in [0, 1]."""
        return _smiling(self.canvas)


def make_rig(picture: Pixels, small: Pixels, points: Points, mask: Mask, others: Sequence[Box]) -> Rig:
    """Build the rig of a portrait.

    `picture`: the portrait at full resolution, RGB, with `points`, `mask (H, W)` and `others` (faces) in its pixels.
    `small`: the portrait at the video's size.
    """
    height, width = small.shape[:2]
    canvas = make_canvas(picture, points, width, height)
    grid = make_grid(canvas)
    to_video = _video_from_picture(picture, width, height)
    weights = head_weights(
        canvas, grid, _onto_grid(canvas, grid, mask, to_video), _neighbours(canvas, others, to_video)
    )
    skin = skin_fields(canvas, grid) * weights.person[..., None]
    held = _held_at_edges(canvas, grid, width, height)
    follows, breathes = weights.head * held, weights.shoulders * held
    head = head_fields(canvas, grid, follows, breathes)
    skin_moves = np.abs(skin).max(axis=0).max(axis=-1) / canvas.unit
    share = _moving_share(canvas, grid, np.maximum.reduce((follows, breathes, skin_moves)), width, height)
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
        relief=make_relief(canvas, _smiling(canvas)),
        area=area,
        nodes=nodes / np.float32(grid.step) - origin,
        head=head_at_nodes / np.float32(grid.step),
        base=base,
        moving=np.where(inside > 0, 255, 0).astype(np.uint8),
        edge=edge,
        edge_share=edge_share,
        edge_own=small[area].reshape(-1)[edge] * (1 - edge_share) + np.float32(0.5),
    )


def _mouth_half_width(canvas: Canvas) -> float:
    corners = canvas.points[[at.LEFT_CORNER, at.RIGHT_CORNER], 0]
    return float(corners[1] - corners[0]) / 2 / canvas.unit


def _lifted(canvas: Canvas) -> float:
    """Return how far the corners of the mouth are lifted, in face heights."""
    corners = canvas.points[[at.LEFT_CORNER, at.RIGHT_CORNER], 1].mean()
    return (
        float(canvas.points[[at.INNER_LIP_TOP, at.INNER_LIP_BOTTOM], 1].mean() - corners) / canvas.unit
        - (_PLAIN_MOUTH[0])
    )


def _smiling(canvas: Canvas) -> float:
    return min(max(_lifted(canvas) / _FULL_SMILE, 0.0), 1.0)


def _smile(canvas: Canvas) -> tuple[float, float]:
    widened = (_mouth_half_width(canvas) - _PLAIN_MOUTH[1]) * _smiling(canvas)
    return min(max(_lifted(canvas), 0.0), _MOST_SMILE), min(max(widened, 0.0), _MOST_SMILE)


def _at_least_a_pixel(part: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return `part`, or one pixel if it is empty: the face is too small or too far outside for visible motion."""
    rows, columns = part
    return part if rows.stop and columns.stop else (slice(0, 1), slice(0, 1))


def _video_from_picture(picture: Pixels, width: int, height: int) -> Floats:
    """Return the matrix from pixels of the full picture to pixels of the video, `(3, 3)`."""
    return np.diag([width / picture.shape[1], height / picture.shape[0], 1]).astype(np.float32)


def _held_at_edges(canvas: Canvas, grid: Grid, width: int, height: int) -> Floats:
    """Return 0 at the edges of the video and 1 further inside, `(h, w)`.

    Hair that is cut off by an edge stretches there, because nobody knows what lies beyond.
    """
    to_video = cv2.invertAffineTransform(canvas.affine)
    where = cv2.transform(np.stack([grid.x, grid.y], axis=-1), to_video)
    inside = np.minimum(where, (width - 1, height - 1) - where).min(axis=-1)
    scale = float(np.sqrt(abs(np.linalg.det(canvas.affine[:, :2]))))
    return smoothstep((inside * scale / (_EDGE * canvas.unit)).astype(np.float32))


def _onto_grid(canvas: Canvas, grid: Grid, mask: Mask, to_video: Floats) -> Mask:
    """Return the person mask at the grid's nodes."""
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
    """Return how much of the moved head each pixel of the video shows, `(height, width)`; 0 where nothing ever moves.

    `motion`: at the grid's nodes, in face heights per unit of a parameter.
    """
    share = np.clip((motion - _SUPPORT) / _FEATHER, 0, 1).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return _sample(share, cv2.transform(np.stack([x, y], axis=-1), canvas.affine), grid.step)


def _positions(canvas: Canvas, area: tuple[slice, slice]) -> tuple[Floats, Floats]:
    """Return canvas positions of the nodes, placed where `cv2.resize` reads them, and of the area's pixels."""
    top, bottom, left, right = area[0].start, area[0].stop, area[1].start, area[1].stop
    y, x = np.mgrid[top:bottom, left:right]
    rows, columns = -(-(bottom - top) // _NODE_STEP), -(-(right - left) // _NODE_STEP)
    node_y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows - 0.5
    node_x = left + (np.arange(columns) + 0.5) * (right - left) / columns - 0.5
    nodes, pixels = (np.stack(pair, axis=-1, dtype=np.float32) for pair in (np.meshgrid(node_x, node_y), (x, y)))
    return cv2.transform(nodes, canvas.affine), cv2.transform(pixels, canvas.affine)


def _sample(field: Floats, where: Floats, step: float) -> Floats:
    """Read a grid's values at canvas positions `where (..., 2)`; 0 outside the canvas."""
    read: Floats = cv2.remap(field.astype(np.float32), where / np.float32(step), None, cv2.INTER_LINEAR)
    return read
