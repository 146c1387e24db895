from itertools import pairwise

import pytest

from dice_talk.lite import topology as at
from dice_talk.lite.rig import Rig

PAIRS = sorted(name.removeprefix("LEFT_") for name in vars(at) if name.startswith("LEFT_"))


@pytest.mark.parametrize("name", PAIRS)
def test_left_is_left_of_right_in_the_picture(rig: Rig, name: str) -> None:
    left, right = (getattr(at, f"{side}_{name}") for side in ("LEFT", "RIGHT"))
    one = isinstance(left, int)
    lefts, rights = ((left,), (right,)) if one else (left, right)
    assert len(set(lefts)) == len(lefts) == len(set(rights)) == len(rights)
    assert rig.canvas.points[[*lefts], 0].max() < rig.canvas.points[[*rights], 0].min()


@pytest.mark.parametrize("name", [name for name in vars(at) if name.endswith(("_UPPER", "_LOWER", "_CREASE"))])
def test_contours_run_from_left_to_right(rig: Rig, name: str) -> None:
    columns = rig.canvas.points[[*getattr(at, name)], 0]
    assert all(a < b for a, b in pairwise(columns))


def test_from_top_to_bottom(rig: Rig) -> None:
    spots = [at.FOREHEAD, at.NOSE_ROOT, at.NOSE_RIDGE, at.NOSE_TIP, at.NOSE_BASE, at.LIP_TOP, at.INNER_LIP_TOP]
    spots += [at.INNER_LIP_BOTTOM, at.LIP_BOTTOM, at.CHIN]
    rows = rig.canvas.points[spots, 1]
    assert all(a < b for a, b in pairwise(rows))


def test_the_outline_goes_round_once_and_holds_everything_else(rig: Rig) -> None:
    assert len(set(at.OVAL)) == len(at.OVAL) == 36
    outline, points = rig.canvas.points[[*at.OVAL]], rig.canvas.points[:468]
    margin = 0.02 * rig.canvas.unit
    assert (points >= outline.min(0) - margin).all() and (points <= outline.max(0) + margin).all()
    along = outline - outline.mean(0)
    turned = [a[0] * b[1] - a[1] * b[0] for a, b in pairwise([*along, along[0]])]
    assert all(turn > 0 for turn in turned), "clockwise in the picture"


def test_eyes_lie_between_their_corners(rig: Rig) -> None:
    x = rig.canvas.points[:, 0]
    assert x[at.LEFT_EYE_OUTER] < x[at.LEFT_IRIS[0]] < x[at.LEFT_EYE_INNER]
    assert x[at.RIGHT_EYE_INNER] < x[at.RIGHT_IRIS[0]] < x[at.RIGHT_EYE_OUTER]
    assert at.LEFT_EYE_UPPER[0] == at.LEFT_EYE_LOWER[0] == at.LEFT_EYE_OUTER
    assert at.RIGHT_EYE_UPPER[-1] == at.RIGHT_EYE_LOWER[-1] == at.RIGHT_EYE_OUTER
    assert {*at.UPPER_LIDS} <= {*at.LEFT_EYE_UPPER, *at.RIGHT_EYE_UPPER}
