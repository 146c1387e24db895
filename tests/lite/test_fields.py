import numpy as np
import pytest

from dice_talk.emotions import Emotion
from dice_talk.lite import topology as at
from dice_talk.lite.arrays import Floats
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.expressions import EXPRESSIONS
from dice_talk.lite.fields import SKIN, skin_fields
from dice_talk.lite.grid import Grid

Fields = dict[str, Floats]


@pytest.fixture(scope="module")
def fields(face: Canvas, grid: Grid) -> Fields:
    return dict(zip(SKIN, skin_fields(face, grid), strict=True))


def at_point(field: Floats, point: Floats, grid: Grid) -> Floats:
    column, row = (point / grid.step).round().astype(int)
    found: Floats = field[row, column]
    return found


def test_every_parameter_has_a_field_on_the_grid(fields: Fields, grid: Grid) -> None:
    assert len(fields) == len(SKIN) == len(set(SKIN))
    for name, field in fields.items():
        assert field.shape == (*grid.x.shape, 2), name
        assert np.isfinite(field).all() and np.abs(field).max() > 0.1, name


@pytest.mark.parametrize(
    ("name", "landmark", "direction"),
    [
        ("jaw", at.CHIN, (0, 1)),
        ("corner_out_left", at.LEFT_CORNER, (-1, 0)),
        ("corner_out_right", at.RIGHT_CORNER, (1, 0)),
        ("corner_up_left", at.LEFT_CORNER, (0, -1)),
        ("corner_up_right", at.RIGHT_CORNER, (0, -1)),
        ("mouth_width", at.LEFT_CORNER, (-1, 0)),
        ("mouth_width", at.RIGHT_CORNER, (1, 0)),
        ("lip_up", at.LIP_TOP, (0, -1)),
        ("nose_up", at.LEFT_NOSTRIL, (0, -1)),
        ("nose_up", at.RIGHT_NOSTRIL, (0, -1)),
        ("cheek_up", at.LEFT_CHEEK, (0, -1)),
        ("cheek_up", at.RIGHT_CHEEK, (0, -1)),
        ("brow_inner", 55, (0, -1)),
        ("brow_outer_left", 46, (0, -1)),
        ("brow_outer_right", 276, (0, -1)),
    ],
)
def test_where_a_parameter_of_one_moves_what(
    fields: Fields, face: Canvas, grid: Grid, name: str, landmark: int, direction: tuple[int, int]
) -> None:
    moved = at_point(fields[name], face.points[landmark], grid)
    assert 0.5 * face.unit < np.dot(moved, direction) < 1.2 * face.unit
    assert abs(np.dot(moved, direction[::-1])) < 0.1 * face.unit


def test_lips_grow_thicker_away_from_their_seam(fields: Fields, face: Canvas, grid: Grid) -> None:
    seam = face.points[at.INNER_LIP_TOP]
    places = [seam + np.array((0, y * face.unit)) for y in (-0.04, 0, 0.04)]
    above, on, below = (at_point(fields["lip_volume"], place, grid)[1] for place in places)
    assert above < -0.4 * face.unit < abs(on) < 0.4 * face.unit < below


def test_the_jaw_leaves_all_above_the_lips_alone_and_ends_in_the_neck(fields: Fields, face: Canvas, grid: Grid) -> None:
    down = fields["jaw"][..., 1]
    seam, chin = float(face.points[at.INNER_LIP_TOP, 1]), float(face.points[at.CHIN, 1])
    assert np.abs(down[grid.y < seam]).max() == 0
    assert np.abs(down[grid.y > chin + 0.36 * face.unit]).max() == 0
    middle = grid.x.shape[1] // 2
    until_chin = down[(grid.y[:, middle] > seam) & (grid.y[:, middle] < chin), middle]
    assert (np.diff(until_chin) >= -1e-4).all()


@pytest.mark.parametrize("name", ["corner_out", "corner_up", "brow_outer", "brow_arch"])
def test_left_and_right_are_mirror_images(fields: Fields, face: Canvas, grid: Grid, name: str) -> None:
    """At matching places: the grid itself is not symmetrical about the face."""
    middle = float(face.points[at.NOSE_TIP, 0])
    for x, y in ((0.15, 0.245), (0.2, -0.2), (0.25, -0.2), (0.1, 0.2)):
        centre = np.array([middle, 145], np.float32)
        left, right = (
            sampled(
                fields[f"{name}_{side}"], centre + np.array((sign * x, y), np.float32) * np.float32(face.unit), grid
            )
            for side, sign in (("left", -1), ("right", 1))
        )
        assert left * (-1, 1) == pytest.approx(right, abs=0.02 * face.unit)


def sampled(field: Floats, point: Floats, grid: Grid) -> Floats:
    """Between the nodes."""
    (column, row), (x, y) = (point / grid.step).astype(int), point / grid.step % 1
    near = field[row : row + 2, column : column + 2]
    upper, lower = (row[0] * (1 - x) + row[1] * x for row in near)
    mixed: Floats = upper * (1 - y) + lower * y
    return mixed


@pytest.mark.parametrize("emotion", Emotion)
def test_nothing_folds_at_the_strength_of_any_emotion(fields: Fields, grid: Grid, emotion: Emotion) -> None:
    """Neighbouring nodes never pass each other."""
    amounts = EXPRESSIONS[emotion].skin
    moved = sum((amounts[name] * fields[name] for name in amounts), np.zeros((*grid.x.shape, 2), np.float32))
    across, down = np.diff(moved[..., 0], axis=1) / grid.step, np.diff(moved[..., 1], axis=0) / grid.step
    assert min(across.min(), down.min()) > -0.95
