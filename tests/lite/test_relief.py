import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.relief import folds, light_at, make_relief, shed
from dice_talk.lite.rig import Rig
from tests.lite.drawing import draw


def test_without_a_smile_nothing_is_smoothed(face: Canvas) -> None:
    relief = make_relief(face, 0.0)
    assert np.array_equal(relief.calm, relief.plain)


def test_the_folds_of_a_smile_become_shallower(rig: Rig) -> None:
    relief = make_relief(rig.canvas, 1.0)
    x, y = (rig.canvas.points[206] - (relief.left, relief.top)).astype(int)
    radius = round(0.05 * rig.canvas.unit)
    around = (slice(y - radius, y + radius), slice(x - radius, x + radius))
    before, after = (part[around].mean(axis=2).std() for part in (relief.plain, relief.calm))
    assert after < 0.75 * before


@pytest.mark.parametrize("landmark", [at.LEFT_IRIS[0], at.RIGHT_IRIS[0], at.LIP_TOP, at.FOREHEAD])
def test_eyes_lips_and_forehead_stay(rig: Rig, landmark: int) -> None:
    relief = make_relief(rig.canvas, 1.0)
    x, y = (rig.canvas.points[landmark] - (relief.left, relief.top)).astype(int)
    patch = (slice(max(y - 2, 0), y + 3), slice(x - 2, x + 3))
    assert np.abs(relief.calm[patch].astype(int) - relief.plain[patch]).max() <= 4


def bump(height: int = 40, width: int = 40) -> Floats:
    """Skin that is pushed together at the middle: from above and from below."""
    y, _ = np.mgrid[0:height, 0:width].astype(np.float32)
    field = np.zeros((1, height, width, 2), np.float32)
    field[0, ..., 1] = -np.tanh((y - height / 2) / 3)
    return field


def test_skin_that_is_pushed_together_is_lit_above_and_shaded_below() -> None:
    light = folds(bump(), [3.0])
    assert light[17, 20] > 0.02 and light[23, 20] < -0.02
    assert np.abs(light[[2, -3]]).max() < 0.01


def test_no_expression_changes_no_light() -> None:
    assert not folds(bump(), [0.0]).any()


def test_light_stays_within_limits() -> None:
    light = folds(bump(), [1000.0])
    assert -0.5 < light.min() < light.max() < 0.3


def test_light_lies_where_its_nodes_do(face: Canvas) -> None:
    relief, nodes = make_relief(face, 0.0), np.zeros((60, 60), np.float32)
    nodes[40, 40] = 1
    light = light_at(relief, nodes, np.array([5, 7], np.float32), 3.0, np.zeros_like(relief.plain[..., 0], np.float32))[
        ..., 1
    ]
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert [column + relief.left, row + relief.top] == [(40 + 5) * 3, (40 + 7) * 3]


def test_skin_in_the_shade_is_redder(face: Canvas) -> None:
    relief, dark = make_relief(face, 0.0), np.full((60, 60), -0.2, np.float32)
    light = light_at(relief, dark, np.zeros(2, np.float32), 8.0, np.zeros(relief.plain.shape[:2], np.float32))
    red, green, blue = light[60, 38]
    assert green == pytest.approx(np.exp(-0.2) - 1, abs=0.03) and red > green > blue


def test_shedding_light_is_a_matter_of_degree(face: Canvas) -> None:
    relief, skin = make_relief(face, 0.0), face.pixels.copy()
    light = np.full(relief.plain.shape, -0.2, np.float32)
    for folded in (0.5, 1.0, 0.0):
        shed(relief, light, skin, 0.0, folded)
        assert (skin[relief.box] / relief.plain)[60, 38] == pytest.approx(1 - 0.2 * folded, abs=0.01)
    assert np.array_equal(skin, face.pixels)


def test_a_portrait_is_relit_within_its_face(rig: Rig) -> None:
    one = np.ones(1, np.float32)
    changed = (draw(rig, calm=one) != draw(rig)).any(axis=2)
    assert changed.mean() > 0.01
    rows, columns = np.nonzero(changed)
    to_canvas = rig.canvas.affine
    spots = np.stack([columns, rows, np.ones_like(rows)]).T @ to_canvas.T
    low, high = rig.canvas.points.min(0) - 4, rig.canvas.points.max(0) + 4
    assert (spots >= low).all() and (spots <= high).all()
