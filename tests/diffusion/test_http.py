"""Over HTTP with tiny weights: the contract that every engine keeps, and two tasks at once."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from numpy.typing import NDArray

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.engine import RenderJob
from dice_talk.options import RenderOptions
from dice_talk.video import probe

SMALL = {"engine": "diffusion", "min_resolution": 128, "inference_steps": 8, "duration": 0.3}
JOBS = [
    {**SMALL, "emotion": "sad", "seed": 0, "quality": "fast"},
    {**SMALL, "emotion": "fear", "seed": 1, "quality": "balanced"},
]
"""The least that clients may ask for."""


def frames(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.timeout(600)
def test_two_tasks_at_once(
    serve: Callable[..., Any],
    tiny_checkpoints: Path,
    engine: Any,
    portrait: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process, whose results are compared
    service = serve(kind=None, workers=2, checkpoints_dir=tiny_checkpoints)
    health = requests.get(f"{service.url}/api/health", timeout=60).json()
    assert (health["engine"], health["weights"]) == ("diffusion", "tiny random weights")

    tasks = [service.submit(portrait, speech, **job) for job in JOBS]
    states: dict[str, list[Any]] = {task: [] for task in tasks}
    while any(not seen or seen[-1]["status"] in ("PENDING", "PROCESSING") for seen in states.values()):
        for task, seen in states.items():
            seen.append(service.status(task))
        time.sleep(0.3)  # whoever asks without a pause takes the cores from the engine, which gives way
    both = list(zip(*([state["stage"] for state in seen] for seen in states.values()), strict=True))
    assert both.count(("denoise", "denoise")) >= 2, "they did not run at once"
    for task, job in zip(tasks, JOBS, strict=True):
        assert states[task][-1]["status"] == "COMPLETED", states[task][-1]
        assert states[task][-1]["weights"] == "tiny random weights"
        progress = [state["progress"] for state in states[task]]
        assert progress == sorted(progress) and progress[-1] == 1
        denoising = {state["progress"] for state in states[task] if state["stage"] == "denoise"}
        assert len(denoising) >= 4, "progress by step"

        (tmp_path / f"{task}.mp4").write_bytes(service.download(task).content)
        comment = json.loads(probe(tmp_path / f"{task}.mp4").metadata["comment"])
        assert (comment["engine"], comment["weights"]) == ("diffusion", "tiny random weights")

        options = RenderOptions(**{name: value for name, value in job.items() if name != "engine"})
        engine.render(RenderJob(portrait, speech, tmp_path / "alone.mp4", options), lambda progress: None)
        assert np.array_equal(frames(tmp_path / f"{task}.mp4"), frames(tmp_path / "alone.mp4"))
