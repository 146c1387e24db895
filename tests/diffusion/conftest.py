import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import NO_TORCH
from tests.diffusion.recorder import Recorder

if TYPE_CHECKING:
    from dice_talk.diffusion.engine import DiffusionEngine
    from tests.diffusion.cases import Case

GIVEN = os.environ.get("DICE_TALK_PARITY_DIR")
COMMITTED = Path(__file__).parents[1] / "data" / "parity"
FOLDERS = [pytest.param(COMMITTED, id="committed")]
if GIVEN:
    FOLDERS.append(pytest.param(Path(GIVEN), id="given"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and other tests run beside these."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recorder() -> Iterator[None]:
    """Pictures are kept in `Recorder.pictures` instead of being written to a video."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dice_talk.diffusion.engine.VideoWriter", Recorder)
        yield


@pytest.fixture
def inference() -> Iterator[None]:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session", params=FOLDERS)
def case(request: pytest.FixtureRequest) -> "Callable[[str], Case]":
    """Read a reference case by name; from `DICE_TALK_PARITY_DIR` too, when that is set."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from tests.diffusion.cases import read_case

    folder: Path = request.param
    return lambda name: read_case(folder, name)


@pytest.fixture(scope="session")
def engine(tiny_checkpoints: Path) -> "DiffusionEngine":
    from dice_talk.diffusion.engine import load

    return load(tiny_checkpoints)
