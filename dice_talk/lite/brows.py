"""Displacement fields of the brows.

Each field follows the line of the brow, so that a brow tilts or arches along its whole length. Separate hills at its
ends would leave the middle behind and bend the brow into an S.
"""

from collections.abc import Sequence

import numpy as np

from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.curves import smoothstep
from dice_talk.lite.eyes import fit_eye
from dice_talk.lite.glasses import coloured_rim, dark_lenses, wears_glasses
from dice_talk.lite.grid import Grid

_ABOVE = 0.075
"""Sigma in face heights over which the forehead follows a brow."""
_THICK = 0.75
"""Share of the distance from a brow's middle line to its lower edge that moves rigidly, so that hair is not stretched.
"""
_ROOM, _ROOM_RANGE = 0.45, (0.014, 0.030)
"""Sigma of the skin below a brow that follows it, as a share of the distance to the lid and in limits (face heights).
Small enough not to drag the lid along.
"""
_HEAVY = 0.042
"""Sigma of the skin below a brow that is pulled down over the eye and takes the lid along."""
_ENDS = (0.048, 0.060)
"""Sigma in face heights beyond the inner and the outer end."""
_ARCH_SKEW = 1.3
"""Above 1, a raised arch is highest in the outer half of the brow."""
_LARGE_EYES = 0.08
"""Face heights by which the brows lie above the landmarks if drawn eyes are larger than the mesh's."""
_BEHIND_GLASSES = 0.35
"""Share of the brows' motion that remains behind glasses, whose rim would bend with the skin."""


def brow_fields(canvas: Canvas, grid: Grid) -> dict[str, Floats]:
    """Return displacements `(h, w, 2)` in face heights for each parameter; see `fields.SKIN`."""
    fields = {"brow_inner": np.zeros((*grid.x.shape, 2), np.float32)}
    fields["brow_in"], fields["brow_down"] = fields["brow_inner"].copy(), fields["brow_inner"].copy()
    sides = (
        ("left", 1, at.LEFT_BROW_UPPER, at.LEFT_BROW_LOWER, at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER),
        ("right", -1, at.RIGHT_BROW_UPPER, at.RIGHT_BROW_LOWER, at.RIGHT_EYE_UPPER, at.RIGHT_EYE_LOWER),
    )
    large_eyes = any(fit_eye(canvas, lid, rim) is None for *_, lid, rim in sides)
    for side, inwards, upper, lower, _, _ in sides:
        along, hill = _brow(canvas, grid, upper, lower, large_eyes, brow_room(canvas))
        _, heavy = _brow(canvas, grid, upper, lower, large_eyes, _HEAVY)
        outer = smoothstep(along)
        fields["brow_inner"][..., 1] -= hill * (1 - outer)
        fields[f"brow_outer_{side}"] = _up(hill * outer)
        arch = np.sin(np.pi * np.clip(along, 0, 1) ** _ARCH_SKEW) ** 2
        fields[f"brow_arch_{side}"] = _up(hill * arch)
        fields["brow_in"][..., 0] += inwards * hill * (1 - outer)
        fields["brow_down"][..., 1] += heavy * (1 - 0.7 * outer)
    if wears_glasses(canvas) or dark_lenses(canvas) or coloured_rim(canvas):
        fields = {name: field * np.float32(_BEHIND_GLASSES) for name, field in fields.items()}
    return fields


def brow_room(canvas: Canvas) -> float:
    """Return the sigma in face heights of the skin that follows the brows downwards. They cannot sink much further."""
    point = canvas.points
    brow = point[[*at.LEFT_BROW_LOWER, *at.RIGHT_BROW_LOWER], 1].mean()
    lid = point[[*at.UPPER_LIDS], 1].mean()
    return float(np.clip(_ROOM * (lid - brow) / canvas.unit, *_ROOM_RANGE))


def _up(amount: Floats) -> Floats:
    field: Floats = np.stack([np.zeros_like(amount), -amount], axis=-1)
    return field


def _brow(
    canvas: Canvas, grid: Grid, upper: Sequence[int], lower: Sequence[int], large_eyes: bool, room: float
) -> tuple[Floats, Floats]:
    """Return for each node its position along the brow (0 inner, 1 outer end), and how much it follows the brow."""
    unit = canvas.unit
    high, low = canvas.points[[*upper]], canvas.points[[*lower]]
    line = (high + low) / 2
    line[:, 1] -= _LARGE_EYES * unit * large_eyes
    middle_x = float(canvas.points[at.FOREHEAD, 0] + canvas.points[at.NOSE_BASE, 0]) / 2
    nearest, furthest = sorted((line[0, 0], line[-1, 0]), key=lambda x: abs(x - middle_x))
    along = (grid.x - nearest) / (furthest - nearest)
    inside = np.clip(along, 0, 1)
    curve = np.polyfit((line[:, 0] - nearest) / (furthest - nearest), line[:, 1], 2)
    y = (grid.y - np.polyval(curve, inside)) / unit
    thick = _THICK * float((low - high)[:, 1].mean()) / 2 / unit
    y = np.where(y < 0, y / _ABOVE, np.maximum(y - thick, 0) / room)
    beyond = (along - inside) * abs(furthest - nearest) / unit
    beyond = np.where(beyond < 0, beyond / _ENDS[0], beyond / _ENDS[1])
    return along, np.exp(-(y * y + beyond * beyond) / 2).astype(np.float32)
