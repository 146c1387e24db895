"""Two processes that denoise one video together give the latents of one, bit for bit."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.conftest import NO_TORCH
from tests.diffusion.recorder import Recorder

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion.engine import DiffusionEngine, load_on_one_device
from dice_talk.diffusion.peers import PeerProcesses, gpus_of_the_same_model
from dice_talk.engine import DEFAULT_TUNING, Progress, RenderJob
from dice_talk.errors import Cancelled, RenderFailed
from dice_talk.options import Quality, RenderOptions

pytestmark = pytest.mark.usefixtures("recorder")
BRIEF = RenderOptions(
    emotion="happy", seed=3, duration=0.4, fps=8, inference_steps=8, min_resolution=128, quality=Quality.FAST
)
"""Two windows, one for each process. They move after the steps 3, 6 and 8."""


Frames = NDArray[np.uint8]


@pytest.fixture(scope="module")
def peers(tiny_checkpoints: Path) -> Iterator[PeerProcesses]:
    peers = PeerProcesses(tiny_checkpoints, DEFAULT_TUNING, [{"OMP_NUM_THREADS": "1"}])
    assert peers.connect()
    yield peers
    peers.close()


@pytest.fixture(scope="module")
def together(tiny_checkpoints: Path, peers: PeerProcesses) -> DiffusionEngine:
    return replace(load_on_one_device(tiny_checkpoints), peers=peers)


@pytest.fixture
def job(portrait: Path, speech: Path, tmp_path: Path) -> RenderJob:
    return RenderJob(portrait, speech, tmp_path / "out.mp4", BRIEF, tmp_path / "state")


def frames(engine: DiffusionEngine, job: RenderJob) -> Frames:
    engine.render(job, lambda progress: None)
    return np.stack(Recorder.pictures.pop("out"))


@pytest.fixture(scope="module")
def wanted(engine: DiffusionEngine, portrait: Path, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """What one process makes."""
    return frames(engine, RenderJob(portrait, speech, tmp_path_factory.mktemp("alone") / "out.mp4", BRIEF))


def test_the_same_video_by_half_the_work_each(
    engine: DiffusionEngine, together: DiffusionEngine, job: RenderJob
) -> None:
    job = replace(job, state=None, options=job.options.model_copy(update={"quality": Quality.EXACT}))
    made: list[int] = []
    hook = together.models.unet.conv_out.register_forward_hook(lambda *_: made.append(1))
    shared = frames(together, job)
    hook.remove()
    assert len(made) == job.options.inference_steps
    assert np.array_equal(shared, frames(engine, job))


def test_also_when_windows_make_several_steps(together: DiffusionEngine, job: RenderJob, wanted: Frames) -> None:
    assert np.array_equal(frames(together, replace(job, state=None)), wanted)


def test_cancelled_and_taken_up_again(together: DiffusionEngine, job: RenderJob, wanted: Frames) -> None:
    """The other process is sent home too, and is there for the next video."""

    def cancel(progress: Progress) -> None:
        if progress.step == 6:
            raise Cancelled

    with pytest.raises(Cancelled):
        together.render(job, cancel)
    assert job.state and job.state.exists()
    assert np.array_equal(frames(together, job), wanted)


def test_two_videos_take_turns(
    together: DiffusionEngine, job: RenderJob, wanted: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that waits says so all the time, and can be called off."""
    monkeypatch.setattr("dice_talk.diffusion.peers.LOCK_WAIT_S", 0.1)
    other = replace(job, output=tmp_path / "other.mp4", state=None)
    begun, cancelled = threading.Event(), threading.Event()

    def first(progress: Progress) -> None:
        if progress.step == 3:
            begun.set()
            assert cancelled.wait(60)

    def second(progress: Progress) -> None:
        if progress.stage == "denoise" and len(told) > 2:
            raise Cancelled
        told.append(progress)

    told: list[Progress] = []
    with ThreadPoolExecutor(1) as pool:
        rendering = pool.submit(together.render, other, first)
        assert begun.wait(60)
        with pytest.raises(Cancelled):
            together.render(job, second)
        cancelled.set()
        rendering.result()
    assert np.array_equal(np.stack(Recorder.pictures.pop("other")), wanted)
    assert np.array_equal(frames(together, job), wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux can limit another process's memory")
def test_a_helper_that_runs_out_of_memory_gives_the_engines_advice(
    together: DiffusionEngine, peers: PeerProcesses, job: RenderJob, wanted: Frames
) -> None:
    """Its address space is really limited. All processes are there for the next video."""
    (helper,) = peers.pids
    before = resource.prlimit(helper, resource.RLIMIT_AS)
    used = psutil.Process(helper).memory_info().vms
    large = replace(job, state=None, options=BRIEF.model_copy(update={"min_resolution": 512}))
    resource.prlimit(helper, resource.RLIMIT_AS, (used + (48 << 20), before[1]))
    try:
        with pytest.raises(RenderFailed, match="too little memory") as caught:
            frames(together, large)
    finally:
        resource.prlimit(helper, resource.RLIMIT_AS, before)
    assert "Lower min_resolution to 320" in str(caught.value.detail)
    assert peers.pids == [helper]
    assert np.array_equal(frames(together, replace(job, state=None)), wanted)


def test_an_engine_that_runs_out_of_memory_keeps_its_helpers(
    together: DiffusionEngine, peers: PeerProcesses, job: RenderJob, wanted: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        error = torch.OutOfMemoryError("CUDA out of memory")
        patch.setattr(together.models.unet, "predict_with_features", Mock(side_effect=error))
        with pytest.raises(RenderFailed, match="too little memory"):
            together.render(replace(job, state=None), lambda progress: None)
    assert np.array_equal(frames(together, replace(job, state=None)), wanted)


@pytest.mark.parametrize(
    ("visible", "names", "others"),
    [
        (None, ["A"], []),
        (None, ["A", "A", "B", "A"], ["1", "3"]),
        ("4, 7", ["A", "A"], ["7"]),
        ("2,3,99", ["A", "A"], ["3"]),  # CUDA ends at what is not there
        ("GPU-x,GPU-y", ["A", "A"], ["GPU-y"]),
    ],
)
def test_which_gpus_help(
    visible: str | None, names: list[str], others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_of_the_same_model() == [{"CUDA_VISIBLE_DEVICES": name} for name in others]


def test_without_a_gpu_there_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpus_of_the_same_model() == []


def test_a_helper_that_cannot_load_is_done_without(tmp_path: Path) -> None:
    peers = PeerProcesses(tmp_path / "nothing here", DEFAULT_TUNING, [{}])
    assert not peers.connect()


def test_a_helper_that_dies_ends_the_render(together: DiffusionEngine, peers: PeerProcesses, job: RenderJob) -> None:
    """An error like any other of the engine's process, which then is replaced: nobody waits for ever. Comes last."""

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            for pid in peers.pids:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(RuntimeError):
        together.render(job, kill)
    with pytest.raises(RuntimeError, match="have ended"):
        together.render(job, lambda progress: None)
