from dataclasses import replace

import numpy as np
import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.canvas import Canvas
from dice_talk.lite.mouth import draw_mouth, lip_edges, make_mouth
from dice_talk.lite.rig import Rig
from tests.lite import schematic


@pytest.mark.parametrize("gap", [0.0, 0.02, 0.06, 0.1])
def test_lips_part_by_what_is_asked_and_meet_at_nothing(rig: Rig, gap: float) -> None:
    upper, lower = lip_edges(rig.mouth, gap)
    assert float((lower - upper).max()) == pytest.approx(gap * rig.canvas.unit, abs=0.6)
    assert (lower >= upper).all()


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


def test_a_closed_mouth_is_at_rest_and_stays_as_it_is(face: Canvas) -> None:
    mouth = make_mouth(face)
    assert mouth.rest == 0
    canvas = face.pixels.copy()
    draw_mouth(mouth, canvas, 0.0, 0.0)
    assert np.abs(canvas.astype(int) - face.pixels).max() <= 1


@pytest.mark.parametrize(("opening", "dark"), [(0.0, 0.0), (0.01, 0.0), (0.04, 0.035), (0.08, 0.035)])
def test_rest_is_the_portraits_own_opening(opening: float, dark: float) -> None:
    """An open one is as wide as it is dark, beyond the landmarks."""
    assert opening - 1e-3 <= make_mouth(schematic.canvas(opening)).rest <= opening + dark + 1e-3


@pytest.mark.parametrize("opening", [0.0, 0.08])
def test_lips_never_cross_and_the_lower_one_does_most(opening: float) -> None:
    mouth = make_mouth(schematic.canvas(opening))
    middle = int(np.argmin(np.abs(mouth.across)))
    for gap in (0.0, 0.001, 0.03, 0.1, 0.2):
        upper, lower = lip_edges(mouth, gap)
        assert (upper <= mouth.meeting + 1e-4).all() and (lower >= mouth.meeting - 1e-4).all()
        risen, dropped = mouth.meeting[middle] - upper[middle], lower[middle] - mouth.meeting[middle]
        assert risen == pytest.approx(0.18 * gap * mouth.unit, abs=0.05)
        assert dropped == pytest.approx(0.82 * gap * mouth.unit, abs=0.1)


def test_a_mouth_that_hardly_opens_parts_in_its_middle_alone(face: Canvas) -> None:
    mouth = make_mouth(face)
    parted = [float(np.ptp(mouth.across[np.subtract(*lip_edges(mouth, gap)) < 0])) for gap in (0.005, 0.05)]
    assert 1.3 < parted[0] < 1.55 < 1.8 < parted[1] <= 2.0


def test_across_runs_from_corner_to_corner(face: Canvas) -> None:
    mouth = make_mouth(face)
    columns = mouth.left + np.arange(len(mouth.across))
    corners = np.interp(face.points[[at.LEFT_INNER_CORNER, at.RIGHT_INNER_CORNER], 0], columns, mouth.across)
    assert corners == pytest.approx([-1, 1], abs=0.1)
    assert (np.diff(mouth.across) > 0).all()


def test_the_far_corner_of_a_turned_mouth_hides_behind_the_lips(face: Canvas) -> None:
    points = face.points.copy()
    points[at.NOSE_TIP, 0] += 1.5 * (points[at.RIGHT_EAR, 0] - points[at.NOSE_TIP, 0])
    points[at.RIGHT_INNER_CORNER, 0] -= 1  # which is the far one then
    turned = replace(face, points=points)
    assert turned.turn > 1.4
    front, aside = (make_mouth(one).across for one in (face, turned))
    assert aside[0] == pytest.approx(front[0], abs=0.1)
    assert aside[-1] > 2 * front[-1]


def test_skin_away_from_the_mouth_stays_where_it_is(face: Canvas) -> None:
    rng = np.random.default_rng(0)
    busy = replace(face, pixels=rng.integers(0, 256, face.pixels.shape, np.uint8))
    mouth, canvas = make_mouth(busy), busy.pixels.copy()
    draw_mouth(mouth, canvas, 0.08, 0.0)
    changed = (canvas != busy.pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() > busy.points[at.NOSE_BASE, 1] - 2
    assert columns.min() >= mouth.left and columns.max() < mouth.left + len(mouth.across)
