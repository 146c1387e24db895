"""Small turns of the head: the depth of each point, and how far hair, neck and surroundings follow."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dice_talk.face_models import Mask
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.curves import smoothstep
from dice_talk.lite.grid import Grid

HEAD = ("yaw", "pitch", "roll", "shift_x", "shift_y", "breath")
"""Parameters of the head: turn to the picture's right, nod down and lean in radians; shifts, and how far a breath
raises the shoulders, in face heights.
"""

_BAND = 0.032
"""Face heights around the person over which the motion fades out. Skin, hair and loose strands stretch there and never
tear.
"""
_NECK = (-0.12, 0.36)
"""Face heights below the chin between which the motion fades out. Shoulders do not move."""
_CHEST, _BREATH_OF_HEAD = (0.05, 0.55), 0.15
"""Face heights below the chin between which a breath raises the body more and more, and its share that the head takes.
"""
_RADIUS = (0.95, 1.4)
"""Face heights from the middle of the face between which the motion fades out. Other people in a group do not move."""
_NEAREST = 0.8
"""Largest share of the way to a neighbour's middle that belongs to the neighbour, so that a small face beside a large
one still moves.
"""
_DEPTH_WIDTH = 0.06
"""Sigma in face heights by which the landmarks' depth is smoothed. Raw depth would tear the cheek of a turning head."""
_OUTER_RINGS = ((1.22, 0.14), (1.6, 0.28), (2.4, 0.34))
"""Rings beyond the outline of the face, where the head curves away: distance from the middle (the outline is 1), and
depth lost in face heights.
"""


@dataclass(frozen=True)
class HeadWeights:
    """How much of the head's motion each grid node takes, `(h, w)` in [0, 1]. `person` is not faded out at the neck.
    `shoulders` is how much it takes of a breath.
    """

    head: Floats
    person: Floats
    shoulders: Floats


def head_weights(
    canvas: Canvas, grid: Grid, mask: Mask, neighbours: Sequence[tuple[float, float, float]]
) -> HeadWeights:
    """Return the weights of the head's motion.

    `mask`: the person, at each node. `neighbours`: (x, y, reach) of other faces on the canvas.
    """
    unit = canvas.unit
    oval = canvas.points[[*at.OVAL]]
    solid = (mask > 0.5).astype(np.uint8)
    cv2.fillConvexPoly(solid, cv2.convexHull((oval / grid.step).round().astype(np.int32)), 1)
    outside = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5) * grid.step
    near = person = 1 - smoothstep(outside / (_BAND * unit))
    middle, chin = oval.mean(0), canvas.points[at.CHIN]
    away = np.hypot(grid.x - middle[0], grid.y - middle[1]) / unit
    person = person * (1 - smoothstep((away - _RADIUS[0]) / (_RADIUS[1] - _RADIUS[0])))
    for x, y, reach in neighbours:
        radius = min(reach, _NEAREST * float(np.hypot(x - middle[0], y - middle[1])))
        person = person * smoothstep((np.hypot(grid.x - x, grid.y - y) / radius - 1) / 0.5)
    below = (grid.y - chin[1]) / unit
    head = person * (1 - smoothstep((below - _NECK[0]) / (_NECK[1] - _NECK[0])))
    chest = smoothstep((below - _CHEST[0]) / (_CHEST[1] - _CHEST[0]))
    shoulders = near * (_BREATH_OF_HEAD + (1 - _BREATH_OF_HEAD) * chest).astype(np.float32)
    return HeadWeights(_soft(head), _soft(person), _soft(shoulders))


def head_fields(canvas: Canvas, grid: Grid, weight: Floats, shoulders: Floats) -> Floats:
    """Return displacements `(len(HEAD), h, w, 2)` in canvas pixels for parameters of 1, for small angles.

    `weight` and `shoulders (h, w)`: how much of the head's motion and of a breath each node takes.
    """
    depth = head_depth(canvas, grid)
    pivot = canvas.points[at.CHIN] + (0, 0.15 * canvas.unit)
    none = np.zeros_like(depth)
    moves = (
        (depth, none),
        (none, depth),
        (-(grid.y - pivot[1]), grid.x - pivot[0]),
        (none + canvas.unit, none),
        (none, none + canvas.unit),
    )
    turned = np.stack([np.stack(move, axis=-1) for move in moves]) * weight[..., None]
    breath = np.stack((none, -canvas.unit * shoulders), axis=-1)
    return np.concatenate([turned, breath[None]]).astype(np.float32)


def head_depth(canvas: Canvas, grid: Grid) -> Floats:
    """Return how far each node lies in front of the axis through the ears, `(h, w)` in canvas pixels."""
    unit, points, depth = canvas.unit, canvas.points[:468], canvas.depth[:468]
    oval = [*at.OVAL]
    middle = points[oval].mean(0)
    samples, values = [points], [depth]
    for distance, loss in _OUTER_RINGS:
        samples.append(middle + (points[oval] - middle) * distance)
        values.append(depth[oval] - loss * unit)
    coarse = 4
    x, y = grid.x[::coarse, ::coarse], grid.y[::coarse, ::coarse]
    smooth = _interpolate(x, y, np.concatenate(samples), np.concatenate(values), _DEPTH_WIDTH * unit)
    size = (grid.x.shape[1], grid.x.shape[0])
    at_nodes = (np.arange(size[0], dtype=np.float32) / coarse, np.arange(size[1], dtype=np.float32) / coarse)
    full = cv2.remap(smooth, *np.meshgrid(*at_nodes), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    axis = (canvas.depth[at.LEFT_EAR] + canvas.depth[at.RIGHT_EAR]) / 2 - 0.05 * unit
    result: Floats = _soft(full) - axis
    return result


def _interpolate(x: Floats, y: Floats, samples: Floats, values: Floats, sigma: float) -> Floats:
    """Return the Gaussian-weighted mean of the samples at `x, y (h, w)`.

    A second, wider Gaussian takes over where no sample is near.
    """
    across, down = x[..., None] - samples[:, 0], y[..., None] - samples[:, 1]
    square = (across * across + down * down) / np.float32(2 * sigma * sigma)
    weight = np.exp(-square) + np.float32(1e-4) * np.exp(square / -9) + np.float32(1e-9) / (1 + square)
    mean: Floats = np.einsum("hwk,k->hw", weight, values) / weight.sum(-1)
    return mean


def _soft(field: Floats) -> Floats:
    soft: Floats = cv2.GaussianBlur(field.astype(np.float32), (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    return soft
