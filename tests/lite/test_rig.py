from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.eyes import draw_eye, fitted, lid_edges, make_eyes, place_lids
from dice_talk.lite.fields import SKIN
from dice_talk.lite.furrows import make_furrows
from dice_talk.lite.glasses import coloured_rim, dark_lenses, wears_glasses
from dice_talk.lite.head import HEAD
from dice_talk.lite.mouth import draw_mouth, lip_edges, make_mouth
from dice_talk.lite.performance import Performance
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig


def still(rig: Rig, **changes: Any) -> Performance:
    """One frame of the portrait as it is, but for `changes`."""
    nothing = np.zeros(1, np.float32)
    rest = Performance(
        skin=np.zeros((1, len(SKIN)), np.float32),
        head=np.zeros((1, len(HEAD)), np.float32),
        gap=nothing + rig.mouth.rest,
        tongue=nothing,
        shut=nothing,
        raised=nothing,
        squint=np.zeros(1, np.float32),
        gaze=np.zeros((1, 2), np.float32),
        frown=nothing,
        wrinkled=nothing,
        blinks=(),
        closures=(),
    )
    return replace(rest, **changes)


def draw(rig: Rig, **changes: Any) -> Pixels:
    return next(frames(rig, still(rig, **changes)))


def on_video(rig: Rig, landmark: int) -> tuple[int, int]:
    """Column and row of a landmark."""
    matrix = np.vstack([rig.canvas.affine, (0, 0, 1)])
    x, y, _ = np.linalg.inv(matrix) @ (*rig.canvas.points[landmark], 1)
    return round(x), round(y)


def test_the_canvas_is_upright_and_fine_enough(rig: Rig) -> None:
    eyes = rig.canvas.points[[33, 263]]
    assert abs(eyes[1, 1] - eyes[0, 1]) < 0.06 * rig.canvas.unit
    assert np.linalg.norm(rig.canvas.points[10] - rig.canvas.points[152]) == pytest.approx(rig.canvas.unit, rel=1e-3)


def test_a_face_that_does_nothing_is_the_portrait(rig: Rig) -> None:
    frame = draw(rig)
    error = np.mean((frame.astype(float) - rig.picture) ** 2)
    assert frame.shape == rig.picture.shape and frame.dtype == np.uint8
    assert 10 * np.log10(255**2 / error) > 34


def test_the_background_stays_untouched_while_the_head_turns(rig: Rig) -> None:
    turned = draw(rig, head=np.array([[0.05, 0.05, 0.05, 0.01, 0.01]], np.float32))
    changed = (turned != rig.picture).any(axis=2)
    assert changed[rig.area].mean() > 0.2
    changed[rig.area] = False
    assert not changed.any()
    corner = rig.picture.shape[0] // 12
    assert np.array_equal(turned[:corner, :corner], rig.picture[:corner, :corner])


@pytest.mark.parametrize(("parameter", "direction"), [("shift_x", (1, 0)), ("shift_y", (0, 1)), ("yaw", (1, 0))])
def test_the_head_goes_where_it_is_told(rig: Rig, parameter: str, direction: tuple[int, int]) -> None:
    pose = np.zeros((1, len(HEAD)), np.float32)
    pose[0, HEAD.index(parameter)] = 0.06
    moved, x_y = draw(rig, head=pose), on_video(rig, at.NOSE_TIP)
    found = _shift(rig.picture, moved, x_y)
    assert np.dot(found, direction) >= 2
    assert abs(np.dot(found, direction[::-1])) <= 1


def test_the_jaw_moves_the_chin_and_not_the_nose(rig: Rig) -> None:
    skin = np.zeros((1, len(SKIN)), np.float32)
    skin[0, SKIN.index("jaw")] = 0.06
    dropped = draw(rig, skin=skin)
    nose, chin = on_video(rig, at.NOSE_TIP), on_video(rig, 200)
    assert _shift(rig.picture, dropped, chin)[1] >= 2
    assert _shift(rig.picture, dropped, nose) == (0, 0)


def _shift(before: Pixels, after: Pixels, centre: tuple[int, int], radius: int = 9, reach: int = 8) -> tuple[int, int]:
    """Where the patch around `centre` went, by trying every place."""
    x, y = centre
    patch = before[y - radius : y + radius, x - radius : x + radius].astype(float)
    errors = {
        (dx, dy): float(
            np.mean((after[y + dy - radius : y + dy + radius, x + dx - radius : x + dx + radius] - patch) ** 2)
        )
        for dx in range(-reach, reach + 1)
        for dy in range(-reach, reach + 1)
    }
    return min(errors, key=lambda shift: errors[shift])


@pytest.mark.parametrize("gap", [0.0, 0.02, 0.06, 0.1])
def test_lips_part_by_what_is_asked_and_meet_at_nothing(rig: Rig, gap: float) -> None:
    upper, lower = lip_edges(rig.mouth, gap)
    assert float((lower - upper).max()) == pytest.approx(gap * rig.canvas.unit, abs=0.6)
    assert (lower >= upper).all()


def test_an_open_mouth_shows_a_dark_inside_and_a_closed_one_none(rig: Rig) -> None:
    canvas = rig.canvas.pixels.copy()
    draw_mouth(rig.mouth, canvas, 0.09, 0.0)
    upper, lower = lip_edges(rig.mouth, 0.09)
    middle = int(np.argmin(np.abs(rig.mouth.across)))
    inside = canvas[rig.mouth.top : rig.mouth.top + len(rig.mouth.source), rig.mouth.left + middle]
    dark = inside[int(upper[middle] + 0.75 * (lower - upper)[middle])].mean()
    assert dark < 0.6 * rig.mouth.source.mean()


def test_shut_lips_leave_nothing_of_an_open_mouth(rig: Rig) -> None:
    """The example smiles; its landmarks cut the dark corners of its mouth."""
    canvas = rig.canvas.pixels.copy()
    draw_mouth(rig.mouth, canvas, 0.0, 0.0)
    left, right, seam = rig.mouth.left, rig.mouth.left + len(rig.mouth.across), round(float(rig.canvas.points[13, 1]))
    around = slice(seam - round(0.05 * rig.canvas.unit), seam + round(0.05 * rig.canvas.unit))
    before, after = (pixels[around, left:right].max(axis=2) for pixels in (rig.canvas.pixels, canvas))
    skin = np.median(before)
    assert (before < 0.4 * skin).sum() > 20 * (after < 0.4 * skin).sum()


def test_a_mouth_wide_open_in_the_portrait_shuts_without_showing_a_lip_twice(rig: Rig) -> None:
    unit, points = rig.canvas.unit, rig.canvas.points.copy()
    points[[*at.INNER_LIP_LOWER[1:-1], *at.OUTER_LIP_LOWER[1:-1], at.CHIN], 1] += 0.1 * unit
    rows = np.linspace(100, 250, len(rig.canvas.pixels))[:, None, None]
    canvas = np.broadcast_to(rows, rig.canvas.pixels.shape).astype(np.uint8)  # lightness tells where a row comes from
    mouth = make_mouth(replace(rig.canvas, points=points, pixels=canvas))
    assert mouth.rest > 0.15
    draw_mouth(mouth, canvas, 0.0, 0.0)
    middle = int(np.argmin(np.abs(mouth.across)))
    shown = canvas[mouth.top : mouth.top + len(mouth.source), mouth.left + middle, 0].astype(int)
    seam, line = round(float(mouth.meeting[middle])), round(0.02 * unit)
    assert (np.diff(shown[: seam - line]) >= 0).all() and (np.diff(shown[seam + line :]) >= 0).all()


def test_teeth_stay_with_the_head_while_the_jaw_drops(rig: Rig) -> None:
    canvas, other = rig.canvas.pixels.copy(), rig.canvas.pixels.copy()
    draw_mouth(rig.mouth, canvas, 0.07, 0.0)
    draw_mouth(rig.mouth, other, 0.1, 0.0)
    upper, _ = lip_edges(rig.mouth, 0.07)
    middle = int(np.argmin(np.abs(rig.mouth.across)))
    column = rig.mouth.left + middle
    row = rig.mouth.top + int(upper[middle] + 0.02 * rig.canvas.unit)
    assert canvas[row, column].astype(int) == pytest.approx(other[row, column].astype(int), abs=25)


def test_lids_meet_in_a_blink_and_never_cross(rig: Rig) -> None:
    for eye in rig.eyes:
        upper, lower = lid_edges(eye, 1.0, 0.0, 0.0)
        assert float((lower - upper).max()) < 0.3
        upper, lower = lid_edges(eye, 0.5, -0.03, 0.03)
        assert (lower >= upper).all()


def test_a_blink_covers_the_iris(rig: Rig) -> None:
    canvas = rig.canvas.pixels.copy()
    for eye in rig.eyes:
        draw_eye(eye, place_lids(eye, 1.0, 0.0, 0.0), canvas, (0, 0))
        x, y = round(eye.iris[0]), round(eye.iris[1])
        before = eye.source[y - 2 : y + 2, x - 4 : x + 4].mean()
        now = canvas[eye.top + y - 2 : eye.top + y + 2, eye.left + x - 4 : eye.left + x + 4].mean()
        assert now > before + 15  # skin is lighter than the pupil


def test_a_wide_eye_opens_within_reason(rig: Rig) -> None:
    for eye in rig.eyes:
        opening = float((eye.lower - eye.upper).max())
        upper, lower = lid_edges(eye, 0.0, 0.5, 0.0)
        assert opening < float((lower - upper).max()) < 1.2 * opening


def test_an_eye_that_is_shut_in_the_portrait_is_left_alone(rig: Rig) -> None:
    one = np.ones(1, np.float32)
    asleep = replace(rig, eyes=(replace(rig.eyes[0], still=True), replace(rig.eyes[1], still=True)))
    assert np.array_equal(draw(asleep, shut=one), draw(asleep))
    assert not np.array_equal(draw(rig, shut=one), draw(rig))


def test_lids_and_gaze_are_those_of_the_frame_whatever_came_before(rig: Rig) -> None:
    """Lids are kept from frame to frame, until anything changes that they depend on."""
    eyes = {
        "shut": [0, 1, 1, 1, 1, 0, 0],
        "raised": [0, 0, 0.03, 0.03, 0.03, 0, 0],
        "squint": [0, 0, 0, 0.012, 0.012, 0, 0.012],
    }
    gaze = [0, 0, 0, 0, 0.01, 0, 0]
    moves: dict[str, Any] = {name: np.array(values, np.float32) for name, values in eyes.items()}
    moves["shut"] *= np.float32(0.3)  # an eye that is shut shows nothing of the rest
    moves["gaze"] = np.stack([np.array(gaze, np.float32)] * 2, axis=1)
    count = len(gaze)
    together = still(
        rig,
        **{
            name: np.repeat(value, count, axis=0)
            for name, value in vars(still(rig)).items()
            if name not in ("blinks", "closures")
        },
    )
    seen = list(frames(rig, replace(together, **moves)))
    alone = [draw(rig, **{name: values[i : i + 1] for name, values in moves.items()}) for i in range(count)]
    for i in range(count):
        assert np.array_equal(seen[i], alone[i]), i
        assert i == 0 or not np.array_equal(seen[i], seen[i - 1]), i


def test_where_head_and_picture_meet_they_are_mixed(rig: Rig) -> None:
    turned = {"head": np.array([[0.05, 0.03, 0.02, 0.01, 0.01]], np.float32)}
    unmixed = replace(rig, edge_share=np.ones_like(rig.edge_share), edge_own=np.full_like(rig.edge_own, 0.5))
    mixed, moved, own = (
        picture[rig.area].reshape(-1).astype(float)
        for picture in (draw(rig, **turned), draw(unmixed, **turned), rig.picture)
    )
    assert 0 < rig.edge_share.min() < 0.1 and 0.9 < rig.edge_share.max() < 1
    pixels, shares = rig.edge.reshape(-1, 3), rig.edge_share.reshape(-1, 3)
    assert (pixels % 3 == (0, 1, 2)).all() and (shares == shares[:, :1]).all(), "a pixel's channels go together"
    assert np.abs(moved - own)[rig.edge].max() > 20, "a mix of two that are alike would show nothing"
    expected = own[rig.edge] + (moved[rig.edge] - own[rig.edge]) * rig.edge_share
    assert np.abs(mixed[rig.edge] - expected).max() < 1
    rest = np.ones(len(mixed), bool)
    rest[rig.edge] = False
    assert np.array_equal(mixed[rest], moved[rest])


def test_the_lid_of_a_white_face_has_no_black_in_it(rig: Rig) -> None:
    canvas = replace(rig.canvas, pixels=(255 * (rig.canvas.pixels / 255.0) ** 0.05).astype(np.uint8))
    for eye in make_eyes(canvas):
        lids = place_lids(eye, 1.0, 0.0, 0.0)
        assert lids.skin.min() > 100


def test_a_raised_brow_keeps_its_shape(rig: Rig) -> None:
    """Brows that rise as one move rigidly along their length."""
    names = ("brow_inner", "brow_outer_left")
    field = rig.skin[[SKIN.index(name) for name in names], ..., 1].sum(axis=0)
    line = (rig.canvas.points[[*at.LEFT_BROW_UPPER]] + rig.canvas.points[[*at.LEFT_BROW_LOWER]]) / 2
    column, row = (line / rig.grid.step - rig.skin_origin).round().astype(int).T
    rise = -field[row, column] * rig.grid.step / rig.canvas.unit
    assert rise.min() > 0.9 * rise.max() > 0.8


def test_a_frown_darkens_the_skin_between_the_brows_and_nothing_else(rig: Rig) -> None:
    one = np.ones(1, np.float32)
    change = draw(rig).astype(int) - draw(rig, frown=one, wrinkled=one)
    (left, _), (right, _), (_, bottom) = (on_video(rig, i) for i in (55, 285, at.NOSE_RIDGE))
    between = change[:bottom, left:right]
    assert between.min() >= -1 and 20 < between.max() < 90
    between[:] = 0
    assert not change.any()


def test_nobody_frowns_through_glasses(rig: Rig) -> None:
    pixels = rig.canvas.pixels.copy()
    row, thick = round(float(rig.canvas.points[6, 1])), round(0.012 * rig.canvas.unit)
    pixels[row : row + thick] = 20
    assert make_furrows(rig.canvas).frown.any()
    assert not make_furrows(replace(rig.canvas, pixels=pixels)).frown.any()


def test_a_bar_across_the_nose_is_a_pair_of_glasses(rig: Rig) -> None:
    pixels = rig.canvas.pixels.copy()
    row, thick = round(float(rig.canvas.points[6, 1])), round(0.012 * rig.canvas.unit)
    pixels[row : row + thick] = 20
    assert wears_glasses(replace(rig.canvas, pixels=pixels))
    assert not wears_glasses(rig.canvas)


def test_sunglasses_are_noticed(rig: Rig) -> None:
    pixels = rig.canvas.pixels.copy()
    for iris in (468, 473):
        x, y = rig.canvas.points[iris].round().astype(int)
        cv2.circle(pixels, (int(x), int(y)), round(0.2 * rig.canvas.unit), (10, 10, 12), -1)
    assert dark_lenses(replace(rig.canvas, pixels=pixels))
    assert not dark_lenses(rig.canvas)


def test_a_coloured_rim_is_noticed_and_painted_lids_are_not(rig: Rig) -> None:
    rimmed, painted = rig.canvas.pixels.copy(), rig.canvas.pixels.copy()
    top, bottom = (round(float(rig.canvas.points[159, 1]) - up * rig.canvas.unit) for up in (0.05, 0.01))
    rimmed[top:bottom] = (215, 30, 150)
    painted[top:bottom] = (0.75 * painted[top:bottom] + 0.25 * np.array((215, 30, 150))).astype(np.uint8)
    assert coloured_rim(replace(rig.canvas, pixels=rimmed))
    assert not coloured_rim(replace(rig.canvas, pixels=painted))
    assert not coloured_rim(rig.canvas)


def test_a_shine_below_an_eye_is_not_its_white_but_what_flows_over_the_lid_is(rig: Rig) -> None:
    rim = rig.canvas.points[[*at.LEFT_EYE_UPPER, *at.LEFT_EYE_LOWER]]
    (x, y), wide = rim.mean(0).round().astype(int), float(np.ptp(rim[:, 0]))
    shining, enlarged = rig.canvas.pixels.copy(), rig.canvas.pixels.copy()
    low = int(rim[:, 1].max() + 0.05 * wide)
    shining[low : low + round(0.1 * wide), x - round(0.4 * wide) : x + round(0.4 * wide)] = 255
    cv2.circle(enlarged, (int(x), int(y)), round(1.3 * wide), (255, 255, 255), -1)
    eye = at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER
    assert fitted(replace(rig.canvas, pixels=shining), *eye) is not None
    assert fitted(replace(rig.canvas, pixels=enlarged), *eye) is None


def test_the_head_is_held_where_the_frame_cuts_it_off(rig: Rig) -> None:
    nod = np.zeros((1, len(HEAD)), np.float32)
    nod[0, HEAD.index("pitch")] = 0.08
    moved = draw(rig, head=nod).astype(int) - draw(rig)
    assert np.abs(moved[0]).max() <= 6 < np.abs(moved[100:150]).max()


def test_of_a_laugh_no_more_than_a_smile_is_taken_back(rig: Rig) -> None:
    points = rig.canvas.points.copy()
    points[[at.LEFT_CORNER, at.RIGHT_CORNER], 1] -= 0.1 * rig.canvas.unit
    laughing = replace(rig, canvas=replace(rig.canvas, points=points))
    assert 0 < rig.smile[0] <= laughing.smile[0] < 0.06
