from dataclasses import replace
from pathlib import Path

import numpy as np

from dice_talk.face import Box
from dice_talk.image import load_portrait
from dice_talk.lite import topology as at
from dice_talk.lite.engine import LiteEngine, prepare
from dice_talk.lite.head import HEAD
from dice_talk.lite.models import find_face
from dice_talk.lite.rig import Rig
from dice_talk.options import RenderOptions
from tests.lite.drawing import draw


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


def test_a_large_neighbour_does_not_hold_a_face_still(engine: LiteEngine, portrait: Path) -> None:
    options = RenderOptions(emotion="happy", min_resolution=128)
    picture = load_portrait(portrait)
    face = find_face(engine.models, picture, 0).box
    large = Box(face.right + 5, face.top - face.height, face.right + 5 + 3 * face.width, face.top + 2 * face.height)
    beside = replace(engine.models, detector=lambda _: [large, face])
    rig = prepare(beside, portrait, options)
    assert rig.moving.size > 1
    assert np.abs(rig.skin).max() > 0.1 * np.abs(prepare(engine.models, portrait, options).skin).max()
