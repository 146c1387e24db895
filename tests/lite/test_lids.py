from dataclasses import replace

import numpy as np
import pytest

from dice_talk.lite.canvas import Canvas
from dice_talk.lite.eyes import make_eyes
from dice_talk.lite.lids import draw_eye, lid_edges, place_lids
from dice_talk.lite.rig import Rig


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
        assert opening < float((lower - upper).max()) < 1.45 * opening


def test_the_lid_of_a_white_face_has_no_black_in_it(rig: Rig) -> None:
    canvas = replace(rig.canvas, pixels=(255 * (rig.canvas.pixels / 255.0) ** 0.05).astype(np.uint8))
    for eye in make_eyes(canvas):
        lids = place_lids(eye, 1.0, 0.0, 0.0)
        assert lids.skin.min() > 100


def test_lids_at_rest_are_those_of_the_portrait(face: Canvas) -> None:
    for eye in make_eyes(face):
        upper, lower = lid_edges(eye, 0.0, 0.0, 0.0)
        assert upper == pytest.approx(eye.upper, abs=1e-4) and lower == pytest.approx(eye.lower, abs=1e-4)


@pytest.mark.parametrize(
    ("move", "upper_goes", "lower_goes"),
    [((0.0, 0.01, 0.0), -1, 0), ((0.0, -0.01, 0.0), 1, 0), ((0.0, 0.0, 0.01), 0, -1), ((0.5, 0.0, 0.0), 1, -1)],
)
def test_which_lid_goes_where(face: Canvas, move: tuple[float, float, float], upper_goes: int, lower_goes: int) -> None:
    for eye in make_eyes(face):
        middle = int(np.argmax(eye.bow))
        upper, lower = lid_edges(eye, *move)
        ways = upper[middle] - eye.upper[middle], lower[middle] - eye.lower[middle]
        assert [int(np.sign(round(float(way), 2))) for way in ways] == [upper_goes, lower_goes]
        assert abs(upper[0] - eye.upper[0]) < 0.3, "corners stay"


def test_an_eye_at_rest_is_drawn_as_it_was(face: Canvas) -> None:
    canvas = face.pixels.copy()
    for eye in make_eyes(face):
        draw_eye(eye, place_lids(eye, 0.0, 0.0, 0.0), canvas, (0.0, 0.0))
    assert np.abs(canvas.astype(int) - face.pixels).max() <= 60  # a lid's edge is softened
    assert np.abs(canvas.astype(int) - face.pixels).mean() < 1


def test_a_glance_moves_the_iris_and_no_lid(face: Canvas) -> None:
    (eye, _), drawn = make_eyes(face), []
    lids = place_lids(eye, 0.0, 0.0, 0.0)
    for gaze in ((-0.03, 0.0), (0.03, 0.0)):
        canvas = face.pixels.copy()
        draw_eye(eye, lids, canvas, gaze)
        drawn.append(canvas)
    box = slice(eye.top + 6, eye.top + len(eye.source)), slice(eye.left, eye.left + len(eye.upper))  # below the brow
    dark = [np.nonzero(one[box].max(axis=2) < 90)[1].mean() for one in drawn]
    assert dark[1] > dark[0] + 3
    outside = np.ones(face.pixels.shape[:2], bool)
    rows, columns = lids.part
    outside[eye.top + rows.start : eye.top + rows.stop, eye.left + columns.start : eye.left + columns.stop] = False
    assert np.array_equal(drawn[0][outside], drawn[1][outside])


def test_a_shut_eye_shows_no_eyeball(face: Canvas) -> None:
    for eye in make_eyes(face):
        assert place_lids(eye, 1.0, 0.0, 0.0).light.sum() < 0.05 * place_lids(eye, 0.0, 0.0, 0.0).light.sum()
