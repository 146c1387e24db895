"""The effect of each facial muscle group on the skin: one smooth displacement field per parameter.

Fields live on a coarse grid over the canvas. The skin's motion in a frame is their sum, weighted by the frame's
parameters. Nothing can tear or fold, because all fields are smooth and small. Lips and lids, which do part, are not
included.
"""

from dataclasses import dataclass

import numpy as np

from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.brows import brow_fields
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.curves import smoothstep
from dice_talk.lite.grid import Grid

SKIN = (
    "jaw",  # chin and cheeks follow the lower lip down
    "mouth_width",  # corners apart (spread) or together (round)
    "lip_volume",  # lips thicker (round) or pressed
    "corner_out_left",
    "corner_out_right",
    "corner_up_left",
    "corner_up_right",
    "lip_up",  # upper lip towards the nose
    "chin_up",  # chin boss pushes the lower lip up
    "nose_up",  # wings of the nose and the skin beside it
    "cheek_up",
    "brow_inner",  # up
    "brow_outer_left",  # up
    "brow_outer_right",
    "brow_arch_left",  # its middle up
    "brow_arch_right",
    "brow_in",  # brows towards each other
    "brow_down",  # heavy brows, which take the lids along
)
"""Parameters of the skin in the order of the fields. Each is a displacement in face heights."""


def skin_fields(canvas: Canvas, grid: Grid) -> Floats:
    """Return displacements `(len(SKIN), h, w, 2)` in canvas pixels for parameters of one face height."""
    draw = _Brush(canvas, grid)
    point = canvas.points
    seam = (point[at.INNER_LIP_TOP] + point[at.INNER_LIP_BOTTOM]) / 2
    fields = {
        "jaw": _jaw(draw, point, float(seam[1])),
        "mouth_width": _mouth_width(draw, point, seam),
        "lip_volume": _lip_volume(draw, seam),
        "lip_up": draw.push((0, -1), point[at.LIP_TOP], 0.10, 0.045),
        "chin_up": draw.push((0, -1), (point[at.LIP_BOTTOM] + point[at.CHIN]) / 2, 0.10, 0.06),
        "nose_up": draw.push((0, -1), point[at.LEFT_NOSTRIL], 0.05, 0.06)
        + draw.push((0, -1), point[at.RIGHT_NOSTRIL], 0.05, 0.06),
        "cheek_up": draw.push((0, -1), point[at.LEFT_CHEEK], 0.09, 0.06)
        + draw.push((0, -1), point[at.RIGHT_CHEEK], 0.09, 0.06),
    }
    for side, sign in (("left", -1), ("right", 1)):
        corner = point[at.LEFT_CORNER if side == "left" else at.RIGHT_CORNER]
        fields[f"corner_out_{side}"] = draw.push((sign, 0), corner, 0.085, 0.08)
        fields[f"corner_up_{side}"] = draw.push((0, -1), corner, 0.085, 0.07)
    fields |= brow_fields(canvas, grid)
    scaled: Floats = np.stack([fields[name] for name in SKIN]) * np.float32(canvas.unit)
    return scaled


@dataclass(frozen=True)
class _Brush:
    canvas: Canvas
    grid: Grid

    def bump(self, centre: Floats, wide: float, high: float, below: float | None = None) -> Floats:
        """Return a Gaussian hill `(h, w)`. Widths are in face heights; `below` replaces `high` below the centre."""
        x = (self.grid.x - centre[0]) / (wide * self.canvas.unit)
        y = (self.grid.y - centre[1]) / self.canvas.unit
        y = np.where(y < 0, y / high, y / (high if below is None else below))
        hill: Floats = np.exp(-(x * x + y * y) / 2)
        return hill

    def push(
        self,
        direction: tuple[int, int],
        centre: Floats,
        wide: float,
        high: float,
        below: float | None = None,
    ) -> Floats:
        """Return a hill that moves in one direction, `(h, w, 2)`."""
        return self.bump(centre, wide, high, below)[..., None] * np.array(direction, np.float32)


def _jaw(draw: _Brush, point: Floats, seam: float) -> Floats:
    """Move down: not at all at the lips (which part on their own), fully at the chin, fading out over the neck."""
    unit, grid = draw.canvas.unit, draw.grid
    chin = point[at.CHIN]
    onset = smoothstep((grid.y - seam - 0.01 * unit) / max(float(chin[1] - seam) * 0.8, 0.05 * unit))
    neck = 1 - smoothstep((grid.y - chin[1] - 0.03 * unit) / (0.32 * unit))
    across = np.exp(-(((grid.x - chin[0]) / (0.34 * unit)) ** 2))
    field = np.zeros((*grid.x.shape, 2), np.float32)
    field[..., 1] = onset * neck * across
    hollow = draw.push((1, 0), point[at.LEFT_JOWL], 0.08, 0.12) + draw.push((-1, 0), point[at.RIGHT_JOWL], 0.08, 0.12)
    jaw: Floats = field + np.float32(0.12) * hollow
    return jaw


def _mouth_width(draw: _Brush, point: Floats, seam: Floats) -> Floats:
    unit, grid = draw.canvas.unit, draw.grid
    half = abs(float(point[at.RIGHT_CORNER][0] - point[at.LEFT_CORNER][0])) / 2
    x, y = (grid.x - seam[0]) / half, (grid.y - seam[1]) / (0.15 * unit)
    field = np.zeros((*grid.x.shape, 2), np.float32)
    field[..., 0] = x * np.exp(-((x / 1.75) ** 4) - y * y)
    return field


def _lip_volume(draw: _Brush, seam: Floats) -> Floats:
    unit, grid = draw.canvas.unit, draw.grid
    x, y = (grid.x - seam[0]) / (0.15 * unit), (grid.y - seam[1]) / (0.05 * unit)
    field = np.zeros((*grid.x.shape, 2), np.float32)
    field[..., 1] = 1.65 * y * np.exp(-y * y - x * x)
    return field
