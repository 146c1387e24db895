"""Denoising goes on where it was cut off. In another process after kill -9: tests/faults/test_resume.py."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import NO_TORCH
from tests.diffusion.recorder import Recorder

torch = pytest.importorskip("torch", reason=NO_TORCH)

from safetensors.torch import load_file, save_file

from dice_talk.diffusion import state as states
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.state import State
from dice_talk.engine import Progress, RenderJob
from dice_talk.errors import Cancelled
from dice_talk.options import RenderOptions

pytestmark = pytest.mark.usefixtures("recorder")
SMALL = RenderOptions(emotion="happy", seed=3, duration=0.3, inference_steps=8).model_copy(
    update={"min_resolution": 64}
)
"""Less than clients may ask for."""
CUT_AT = 3


Frames = NDArray[np.uint8]


@pytest.fixture
def job(portrait: Path, speech: Path, tmp_path: Path) -> RenderJob:
    return RenderJob(portrait, speech, tmp_path / "out.mp4", SMALL, tmp_path / "state")


class PowerCut(BaseException):
    pass


def cut_at(step: int, how: type[BaseException] = PowerCut) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise how

    return report


def rendered(engine: DiffusionEngine, job: RenderJob) -> tuple[int, Frames]:
    """The first step that was made, and the frames."""
    reports: list[Progress] = []
    engine.render(job, reports.append)
    fractions = [progress.fraction for progress in reports]
    assert fractions == sorted(fractions)
    return next(progress.step for progress in reports if progress.stage == "denoise"), np.stack(
        Recorder.pictures.pop("out")
    )


@pytest.fixture
def cut_off(engine: DiffusionEngine, job: RenderJob, monkeypatch: pytest.MonkeyPatch) -> RenderJob:
    """A job whose state was saved after `CUT_AT` steps."""
    monkeypatch.setattr(states, "SAVE_SECONDS", 0)
    with pytest.raises(PowerCut):
        engine.render(job, cut_at(CUT_AT))
    return job


@pytest.fixture(scope="module")
def whole(engine: DiffusionEngine, portrait: Path, speech: Path) -> Frames:
    """The frames of a render that nothing interrupts."""
    return rendered(engine, RenderJob(portrait, speech, Path("out.mp4"), SMALL))[1]


def test_the_rest_gives_the_same_frames(
    engine: DiffusionEngine, cut_off: RenderJob, whole: Frames, tmp_path: Path
) -> None:
    (tmp_path / ".state.0123456789abcdef.part").touch()  # it was being saved again
    first, frames = rendered(engine, cut_off)
    assert first == CUT_AT
    assert np.array_equal(frames, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [truncated, emptied, scribbled, foreign])
def test_a_state_that_is_no_use_is_passed_over(
    engine: DiffusionEngine,
    cut_off: RenderJob,
    whole: Frames,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert cut_off.state
    damage(cut_off.state)
    first, frames = rendered(engine, cut_off)
    assert first == 0
    assert "starts over" in caplog.text
    assert np.array_equal(frames, whole)


def test_it_fits_no_other_render(engine: DiffusionEngine, cut_off: RenderJob, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(cut_off.audio.read_bytes() + b"\0")
    others = (
        (engine, replace(cut_off, options=SMALL.model_copy(update={"seed": 4}))),
        (engine, replace(cut_off, audio=tmp_path / "speech.wav")),
        (replace(engine, identity="with other weights"), cut_off),
    )
    for other, its_job in others:
        assert states.state_of(its_job, other.identity).load() is None
    assert states.state_of(cut_off, engine.identity).load() is not None


def test_a_state_that_cannot_be_saved_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    State(tmp_path / "gone" / "state", "", _saved=-1e9).update(1, torch.zeros(1, 1, 4, 2, 2))
    assert "can't be saved" in caplog.text


def test_half_a_first_state_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".state.0123456789abcdef.part").write_bytes(b"half")
    assert State(tmp_path / "state", "").load() is None
    assert not list(tmp_path.iterdir())


def test_it_is_saved_now_and_then(tmp_path: Path) -> None:
    state = State(tmp_path / "state", "")
    state.update(1, torch.zeros(1, 1, 4, 2, 2))
    assert state.load() is None
    state._saved -= states.SAVE_SECONDS
    state.update(2, torch.ones(1, 1, 4, 2, 2))
    state.update(3, torch.zeros(1, 1, 4, 2, 2))
    step, latents = state.load() or (0, None)
    assert step == 2 and torch.equal(latents, torch.ones(1, 1, 4, 2, 2))


def test_calling_a_render_off_saves_it(engine: DiffusionEngine, job: RenderJob, whole: Frames) -> None:
    with pytest.raises(Cancelled):
        engine.render(job, cut_at(CUT_AT, Cancelled))
    first, frames = rendered(engine, job)
    assert first == CUT_AT
    assert np.array_equal(frames, whole)
