from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dice_talk.lite.canvas import Canvas
from dice_talk.lite.interior import OPEN, Interior, paint
from dice_talk.lite.mouth import Mouth, draw_mouth, lip_edges, make_mouth
from dice_talk.lite.rig import Rig
from tests.lite import schematic


def test_an_open_mouth_shows_a_dark_inside_and_a_closed_one_none(rig: Rig) -> None:
    canvas = rig.canvas.pixels.copy()
    draw_mouth(rig.mouth, canvas, 0.09, 0.0)
    upper, lower = lip_edges(rig.mouth, 0.09)
    middle = int(np.argmin(np.abs(rig.mouth.across)))
    inside = canvas[rig.mouth.top : rig.mouth.top + len(rig.mouth.source), rig.mouth.left + middle]
    dark = inside[int(upper[middle] + 0.75 * (lower - upper)[middle])].mean()
    assert dark < 0.6 * rig.mouth.source.mean()


def test_teeth_stay_with_the_head_while_the_jaw_drops(rig: Rig) -> None:
    canvas, other = rig.canvas.pixels.copy(), rig.canvas.pixels.copy()
    draw_mouth(rig.mouth, canvas, 0.07, 0.0)
    draw_mouth(rig.mouth, other, 0.1, 0.0)
    upper, _ = lip_edges(rig.mouth, 0.07)
    middle = int(np.argmin(np.abs(rig.mouth.across)))
    column = rig.mouth.left + middle
    row = rig.mouth.top + int(upper[middle] + 0.02 * rig.canvas.unit)
    assert canvas[row, column].astype(int) == pytest.approx(other[row, column].astype(int), abs=25)


def make(canvas: Canvas) -> tuple[Mouth, Interior]:
    mouth = make_mouth(canvas)
    return mouth, mouth.interior


def shaded(face: Canvas, change: Callable[[NDArray[np.float64]], NDArray[Any]]) -> Canvas:
    return replace(face, pixels=change(face.pixels.astype(float)).clip(0, 255).astype(np.uint8))


def test_only_a_portrait_with_an_open_mouth_has_teeth_of_its_own(face: Canvas) -> None:
    assert make(face)[1].own is None
    assert make(schematic.canvas(opening=OPEN / 2))[1].own is None
    mouth, interior = make(schematic.canvas(opening=0.08))
    assert interior.own is not None and interior.own.shape == mouth.source.shape


def test_nothing_is_painted_where_lips_meet(face: Canvas) -> None:
    mouth, interior = make(face)
    target = mouth.source.copy()
    paint(interior, target, mouth.meeting, mouth.meeting, 0.0)
    assert np.array_equal(target, mouth.source)


def test_nothing_is_painted_beyond_the_lips(face: Canvas) -> None:
    mouth, interior = make(face)
    target = mouth.source.copy()
    upper, lower = mouth.meeting - 2, mouth.meeting + 8
    paint(interior, target, upper, lower, 0.0)
    rows = np.flatnonzero((target != mouth.source).any(axis=(1, 2)))
    assert rows.min() >= int(upper.min()) - 1 and rows.max() <= int(lower.max()) + 1 and len(rows) > 5


def test_teeth_are_lighter_than_the_tongue_and_that_than_the_cavity(face: Canvas) -> None:
    _, interior = make(face)
    middle = int(np.argmin(np.abs(interior.across)))
    teeth, lower_teeth = interior.teeth[middle].mean(), interior.lower_teeth[middle].mean()
    assert teeth > lower_teeth > interior.tongue.mean() > interior.cavity.mean()
    assert interior.teeth[0].mean() < 0.3 * teeth, "in the corners it is dark"
    for colour in (interior.tongue, interior.cavity):
        assert colour[0] > 1.5 * colour[1:].max(), "and red"


def test_a_raised_tongue_shows_more(face: Canvas) -> None:
    mouth, interior = make(face)
    red = []
    for tongue in (0.0, 1.0):
        target = mouth.source.copy()
        paint(interior, target, mouth.meeting - 2, mouth.meeting + 10, tongue)
        red.append(target[..., 0].astype(int).sum())
    assert red[1] > red[0]


def test_a_darker_picture_has_a_darker_mouth(face: Canvas) -> None:
    light, dark = make(face)[1], make(shaded(face, lambda pixels: 0.5 * pixels))[1]
    assert dark.cavity == pytest.approx(0.5 * light.cavity, rel=0.05)
    assert dark.teeth == pytest.approx(0.5 * light.teeth, rel=0.05)


def test_a_picture_without_colours_has_none_in_its_mouth(face: Canvas) -> None:
    interior = make(shaded(face, lambda pixels: np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)))[1]
    for colour in (interior.cavity, interior.tongue, interior.teeth):
        assert np.ptp(colour, axis=-1).max() < 0.5


def test_a_tinted_light_tints_the_teeth_by_half(face: Canvas) -> None:
    plain, blue = make(face)[1], make(shaded(face, lambda pixels: pixels * (0.8, 0.8, 1.2)))[1]
    middle = int(np.argmin(np.abs(plain.across)))
    before, after = (float(one.teeth[middle, 2] / one.teeth[middle, 0]) for one in (plain, blue))
    assert after / before == pytest.approx(1.5**0.5, rel=0.05)


def test_teeth_of_ones_own_fade_towards_the_corners() -> None:
    """There the landmarks take lip for teeth."""
    mouth, interior = make(schematic.canvas(opening=0.08))
    assert interior.own is not None
    marked = replace(interior, own=np.full_like(interior.own, 250))
    target = mouth.source.copy()
    paint(marked, target, mouth.upper, mouth.lower, 0.0)
    shown = (target.min(axis=2) > 245).any(axis=0)
    seen = np.abs(mouth.across[shown])
    assert shown[int(np.argmin(np.abs(mouth.across)))] and 0.6 < seen.max() < 0.92
