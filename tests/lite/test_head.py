from dataclasses import replace

import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.grid import Grid
from dice_talk.lite.head import HEAD, head_depth, head_fields, head_weights


@pytest.fixture(scope="module")
def person(face: Canvas, grid: Grid) -> Floats:
    """A mask of head and shoulders."""
    x, y = (grid.x - 145) / face.unit, (grid.y - 145) / face.unit
    mask: Floats = ((np.hypot(x / 0.55, y / 0.75) < 1) | (y > 0.7)).astype(np.float32)
    return mask


def node(grid: Grid, x: float, y: float) -> tuple[int, int]:
    return round(y / grid.step), round(x / grid.step)


def test_the_face_follows_wholly_and_the_corners_of_the_picture_not_at_all(
    face: Canvas, grid: Grid, person: Floats
) -> None:
    weights = head_weights(face, grid, person, [])
    for share in (weights.head, weights.person):
        assert share.shape == grid.x.shape and share.min() >= 0 and share.max() <= 1.0001
        assert share[node(grid, *face.points[at.NOSE_TIP])] > 0.99
        assert share[0, 0] == share[0, -1] < 0.01


def test_shoulders_do_not_turn_but_breathe(face: Canvas, grid: Grid, person: Floats) -> None:
    weights = head_weights(face, grid, person, [])
    shoulder = node(grid, 145, 145 + 0.9 * face.unit)
    assert weights.head[shoulder] < 0.01 < 0.9 < weights.person[shoulder]
    nose = node(grid, *face.points[at.NOSE_TIP])
    assert weights.shoulders[nose] < 0.2 < 0.3 < weights.shoulders[shoulder]
    column = node(grid, 145, 145)[1]
    below = weights.head[node(grid, 145, 145)[0] :, column]
    assert (np.diff(below) <= 1e-5).all()


def test_a_face_that_the_mask_misses_follows_all_the_same(face: Canvas, grid: Grid) -> None:
    weights = head_weights(face, grid, np.zeros_like(grid.x), [])
    assert weights.head[node(grid, *face.points[at.NOSE_TIP])] > 0.99


def test_a_neighbour_stands_still(face: Canvas, grid: Grid) -> None:
    everything = np.ones_like(grid.x)
    free, held = (head_weights(face, grid, everything, others).person for others in ([], [(235.0, 145.0, 30.0)]))
    neighbour = node(grid, 235, 145)
    assert held[neighbour] < 0.01 < 0.5 < free[neighbour]
    assert held[node(grid, *face.points[at.NOSE_TIP])] > 0.99


def test_a_neighbour_claims_no_more_than_most_of_the_way(face: Canvas, grid: Grid) -> None:
    held = head_weights(face, grid, np.ones_like(grid.x), [(235.0, 145.0, 500.0)]).person
    assert held[node(grid, 145, 145)] > 0.3


def test_the_nose_lies_before_the_axis_of_the_ears_and_the_back_of_the_head_behind_it(face: Canvas, grid: Grid) -> None:
    depth = head_depth(face, grid)
    nose, ear = (depth[node(grid, *face.points[i])] for i in (at.NOSE_TIP, at.LEFT_EAR))
    assert depth.shape == grid.x.shape
    assert nose > ear + 0.1 * face.unit > depth[node(grid, 5, 145)] + 0.2 * face.unit


def test_depth_is_smooth(face: Canvas, grid: Grid) -> None:
    depth = head_depth(face, grid)
    assert max(np.abs(np.diff(depth, axis=axis)).max() for axis in (0, 1)) < 3 * grid.step


def test_what_each_parameter_moves(face: Canvas, grid: Grid) -> None:
    ones = np.ones_like(grid.x)
    fields = dict(zip(HEAD, head_fields(face, grid, ones, ones), strict=True))
    depth = head_depth(face, grid)
    assert np.array_equal(fields["yaw"][..., 0], depth) and not fields["yaw"][..., 1].any()
    assert np.array_equal(fields["pitch"][..., 1], depth) and not fields["pitch"][..., 0].any()
    assert (fields["shift_x"] == (face.unit, 0)).all() and (fields["shift_y"] == (0, face.unit)).all()
    assert (fields["breath"] == (0, -face.unit)).all()
    pivot = face.points[at.CHIN] + (0, 0.15 * face.unit)
    arm = np.stack([grid.x, grid.y], -1) - pivot
    assert (fields["roll"] * arm).sum(-1) == pytest.approx(0, abs=1e-2)
    assert np.linalg.norm(fields["roll"], axis=-1) == pytest.approx(np.linalg.norm(arm, axis=-1), rel=1e-4)
    assert fields["roll"][0, grid.x.shape[1] // 2, 0] > 0, "a head that leans to the right moves right at its top"


def test_all_of_it_is_weighted(face: Canvas, grid: Grid) -> None:
    weight = np.linspace(0, 1, grid.x.size, dtype=np.float32).reshape(grid.x.shape)
    whole, part = (head_fields(face, grid, share, share) for share in (np.ones_like(weight), weight))
    assert part == pytest.approx(whole * weight[..., None], abs=1e-4)


def test_depth_does_not_depend_on_where_the_origin_of_depth_lies(face: Canvas, grid: Grid) -> None:
    moved = replace(face, depth=face.depth + 17)
    assert head_depth(moved, grid) == pytest.approx(head_depth(face, grid), abs=1e-2)


def test_the_axis_lies_a_little_behind_the_ears(face: Canvas, grid: Grid) -> None:
    points = face.points.copy()
    ears = points[[at.LEFT_EAR, at.RIGHT_EAR]]
    flat = replace(face, depth=np.full_like(face.depth, 7.0))
    depth = head_depth(flat, grid)
    assert depth[node(grid, *ears.mean(0))] == pytest.approx(0.05 * face.unit, abs=0.1)
