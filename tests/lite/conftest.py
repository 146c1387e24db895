from pathlib import Path

import pytest

from dice_talk.lite.canvas import Canvas
from dice_talk.lite.engine import LiteEngine, prepare
from dice_talk.lite.grid import Grid, make_grid
from dice_talk.lite.models import load_face_models
from dice_talk.lite.rig import Rig
from dice_talk.options import RenderOptions
from tests.lite import schematic


@pytest.fixture(scope="session")
def engine() -> LiteEngine:
    return LiteEngine(load_face_models())


@pytest.fixture(scope="session")
def rig(engine: LiteEngine, portrait: Path) -> Rig:
    """The example portrait, cropped, at 256 pixels. Nothing may change it."""
    return prepare(engine.models, portrait, RenderOptions(emotion="neutral", crop=True, min_resolution=256))


@pytest.fixture(scope="session")
def face() -> Canvas:
    """The schematic face. Nothing may change it."""
    return schematic.canvas()


@pytest.fixture(scope="session")
def grid(face: Canvas) -> Grid:
    return make_grid(face)
