from dataclasses import replace

import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.brows import brow_fields, brow_room
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.fields import SKIN
from dice_talk.lite.grid import Grid
from dice_talk.lite.rig import Rig


def test_a_raised_brow_keeps_its_shape(rig: Rig) -> None:
    """Brows that rise as one move rigidly along their length."""
    names = ("brow_inner", "brow_outer_left")
    field = rig.skin[[SKIN.index(name) for name in names], ..., 1].sum(axis=0)
    line = (rig.canvas.points[[*at.LEFT_BROW_UPPER]] + rig.canvas.points[[*at.LEFT_BROW_LOWER]]) / 2
    column, row = (line / rig.grid.step - rig.skin_origin).round().astype(int).T
    rise = -field[row, column] * rig.grid.step / rig.canvas.unit
    assert rise.min() > 0.9 * rise.max() > 0.8


@pytest.fixture(scope="module")
def fields(face: Canvas, grid: Grid) -> dict[str, Floats]:
    return brow_fields(face, grid)


def test_there_is_a_field_for_every_parameter_of_the_brows(fields: dict[str, Floats]) -> None:
    assert set(fields) == {name for name in SKIN if name.startswith("brow")}


def test_brows_move_up_and_only_brow_in_moves_across(fields: dict[str, Floats]) -> None:
    for name, field in fields.items():
        if name == "brow_in":
            assert not field[..., 1].any()
        elif name == "brow_down":
            assert not field[..., 0].any() and field[..., 1].min() >= 0 and field[..., 1].max() > 0.5
        else:
            assert not field[..., 0].any() and field[..., 1].max() <= 0 and field[..., 1].min() < -0.5


def test_brows_come_together_from_both_sides(fields: dict[str, Floats], face: Canvas, grid: Grid) -> None:
    across, left = fields["brow_in"][..., 0], grid.x < face.points[at.NOSE_TIP, 0] - 0.1 * face.unit
    assert across[left].max() > 0.5 and across[left].min() >= -1e-6
    right = grid.x > face.points[at.NOSE_TIP, 0] + 0.1 * face.unit
    assert across[right].min() < -0.5 and across[right].max() <= 1e-6


def test_inner_and_outer_parts_make_the_whole_brow(fields: dict[str, Floats], face: Canvas, grid: Grid) -> None:
    together = -(fields["brow_inner"] + fields["brow_outer_left"] + fields["brow_outer_right"])[..., 1]
    for brow in (at.LEFT_BROW_UPPER, at.RIGHT_BROW_UPPER):
        column, row = (face.points[[*brow]] / grid.step).round().astype(int).T
        assert (together[row, column] > 0.85).all()
    assert together[(face.points[at.CHIN] / grid.step).round().astype(int)[::-1][0]].max() < 0.01


@pytest.mark.parametrize(("raised", "room"), [(-0.5, 0.030), (0.0, 0.027), (0.05, 0.014), (0.5, 0.014)])
def test_room_for_the_brow_to_sink_has_limits(face: Canvas, raised: float, room: float) -> None:
    points = face.points.copy()
    points[[*at.UPPER_LIDS], 1] = points[[*at.LEFT_BROW_LOWER], 1].mean() + (0.06 - raised) * face.unit
    assert brow_room(replace(face, points=points)) == pytest.approx(room, abs=1e-4)


def test_behind_glasses_brows_move_less(fields: dict[str, Floats], face: Canvas, grid: Grid) -> None:
    pixels = face.pixels.copy()
    row = round(float(face.points[6, 1]))
    pixels[row : row + 2] = 20
    for name, field in brow_fields(replace(face, pixels=pixels), grid).items():
        assert field == pytest.approx(0.35 * fields[name], abs=1e-5)
