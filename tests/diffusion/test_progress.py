"""Progress of denoising: after each window, and a way out for a render that is cancelled."""

from typing import Any

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion.progress import DENOISED, PREPARED, DenoisingProgress
from dice_talk.engine import Progress
from dice_talk.errors import Cancelled

WINDOWS, STEPS = 2, 4


def denoised(progress: DenoisingProgress) -> None:
    """Go through the steps that are left, as the sampler does."""
    predict = progress.counting(lambda latents, step, frames: latents)
    for step in range(progress.step, STEPS):
        for _ in range(WINDOWS):
            predict(torch.zeros(1), step, torch.zeros(1))
        progress.on_step(step + 1)


def test_each_window_moves_on_by_the_same() -> None:
    said: list[Progress] = []
    progress = DenoisingProgress(said.append, "Generating video...", STEPS, WINDOWS, 0)
    progress.on_step(0)
    denoised(progress)
    span = DENOISED - PREPARED
    wanted = [PREPARED + span * step / STEPS for step in (0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4, 4)]
    assert [one.fraction for one in said] == pytest.approx(wanted)
    assert [one.step for one in said] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert {(one.stage, one.message, one.steps) for one in said} == {("denoise", "Generating video...", STEPS)}


def test_a_render_that_resumes_begins_further_on() -> None:
    said: list[Progress] = []
    progress = DenoisingProgress(said.append, "", STEPS, WINDOWS, 0)
    progress.on_step(3)
    denoised(progress)
    assert said[0].fraction == pytest.approx(PREPARED + (DENOISED - PREPARED) * 3 / 4)
    assert [one.step for one in said] == [3, 3, 3, 4]


def test_predictions_pass_through() -> None:
    given: list[Any] = []

    def more(*arguments: Any) -> Any:
        given.append(arguments)
        return arguments[0] + 1

    progress = DenoisingProgress(lambda progress: None, "", STEPS, WINDOWS, 0)
    predict = progress.counting(more)
    latents, frames = torch.ones(2), torch.arange(2)
    assert predict(latents, 1, frames).tolist() == [2, 2]
    assert given[0][0] is latents and given[0][1] == 1 and given[0][2] is frames


def test_a_cancelled_render_ends_after_one_window() -> None:
    said: list[Progress] = []

    def report(progress: Progress) -> None:
        said.append(progress)
        raise Cancelled

    with pytest.raises(Cancelled):
        denoised(DenoisingProgress(report, "", STEPS, WINDOWS, 0))
    assert len(said) == 1
