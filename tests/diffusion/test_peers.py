"""Two processes that denoise one video together give the latents of one, bit for bit."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.diffusion.conftest import NO_TORCH
from tests.diffusion.recorder import Recorder

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion.engine import DiffusionEngine, load_alone
from dice_talk.diffusion.peers import Crew, gpus_like_the_first
from dice_talk.engine import Progress, RenderJob
from dice_talk.errors import Cancelled
from dice_talk.options import Quality, RenderOptions

LONG = RenderOptions(emotion="happy", seed=3, duration=2.5, inference_steps=8, min_resolution=128)
"""Three windows: more than one for each process, and not the same number."""


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dice_talk.diffusion.engine.VideoWriter", Recorder)


@pytest.fixture(scope="module")
def crew(tiny_checkpoints: Path) -> Iterator[Crew]:
    crew = Crew(tiny_checkpoints, [{"OMP_NUM_THREADS": "1"}])
    assert crew.join()
    yield crew
    crew.close()


@pytest.fixture(scope="module")
def together(tiny_checkpoints: Path, crew: Crew) -> DiffusionEngine:
    return replace(load_alone(tiny_checkpoints), crew=crew)


@pytest.fixture
def job(portrait: Path, speech: Path, tmp_path: Path) -> RenderJob:
    return RenderJob(portrait, speech, tmp_path / "out.mp4", LONG, tmp_path / "state")


def frames(engine: DiffusionEngine, job: RenderJob) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    engine.render(job, lambda progress: None)
    return np.stack(Recorder.pictures.pop("out"))


@pytest.mark.parametrize("quality", [Quality.EXACT, Quality.FAST])
def test_the_same_video(engine: DiffusionEngine, together: DiffusionEngine, job: RenderJob, quality: Quality) -> None:
    job = replace(job, state=None, options=job.options.model_copy(update={"quality": quality}))
    assert np.array_equal(frames(together, job), frames(engine, job))


def test_each_makes_its_share(together: DiffusionEngine, job: RenderJob) -> None:
    """Of three windows rank 0 makes two, and the other process one."""
    made: list[int] = []
    hook = together.models.unet.conv_out.register_forward_hook(lambda *_: made.append(1))
    frames(together, replace(job, state=None))
    hook.remove()
    assert len(made) == 2 * job.options.inference_steps


def test_cancelled_and_taken_up_again(engine: DiffusionEngine, together: DiffusionEngine, job: RenderJob) -> None:
    """The other process is sent home too, and is there for the next video."""

    def cancel(progress: Progress) -> None:
        if progress.step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        together.render(job, cancel)
    assert job.state and job.state.exists()
    resumed = frames(together, job)
    assert np.array_equal(resumed, frames(engine, replace(job, state=None)))


def test_without_a_second_gpu_there_is_nobody(tiny_checkpoints: Path) -> None:
    if not torch.cuda.is_available():
        assert gpus_like_the_first() == []


def test_a_helper_that_cannot_load_is_done_without(tmp_path: Path) -> None:
    crew = Crew(tmp_path / "nothing here", [{}])
    assert not crew.join()


def test_a_helper_that_dies_ends_the_render(together: DiffusionEngine, crew: Crew, job: RenderJob) -> None:
    """An error like any other of the engine's process, which then is replaced: nobody waits for ever. Comes last."""

    def kill(progress: Progress) -> None:
        if progress.step == 1:
            for pid in crew.pids:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(RuntimeError):
        together.render(job, kill)
