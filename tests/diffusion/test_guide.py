"""Guided predictions: which branch sees what, in batches of any size."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dataclasses import replace
from typing import Any

from torch import Tensor

from dice_talk.diffusion.attention import Bank
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.denoise import Guidance
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.reuse import NOTHING, Reuse
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from tests.diffusion.cases import deviation
from tests.diffusion.small import SHALLOW, make_task, make_unet, random

pytestmark = pytest.mark.usefixtures("inference")
ROUNDING, GUIDED_ROUNDING = 2e-5, 5e-4
SIDE, FRAMES = 8, 4
WINDOW = torch.arange(FRAMES)


@pytest.fixture(scope="module")
def unet() -> DiceTalkUNet:
    return make_unet(SHALLOW).optimise_for_inference()


@pytest.fixture(scope="module")
def task() -> Conditioning:
    return make_task(FRAMES, side=SIDE)


def predicted(
    unet: DiceTalkUNet,
    task: Conditioning,
    guidance: Guidance,
    batch: BatchSize | None = None,
    reuse: Reuse = NOTHING,
    steps: int = 1,
) -> list[Tensor]:
    """Return the predictions of the first steps, each for the same latents."""
    predict = GuidedPredictor(unet, task, guidance, karras_schedule(4), batch or BatchSize(3), reuse)
    return [predict(random(1, FRAMES, 4, SIDE, SIDE), step, WINDOW) for step in range(steps)]


NOTHING_GIVEN, IMAGE, EVERYTHING = Guidance(0, 0), Guidance(1, 0), Guidance(1, 1)
"""Guidance that gives one branch alone."""


def test_each_branch_sees_its_own(unet: DiceTalkUNet, task: Conditioning) -> None:
    """The first one no image, the second one no emotion and no audio."""
    other = make_task(FRAMES, seed=50, side=SIDE)
    for changed, seen_by in (
        (replace(task, reference=other.reference), (False, True, True)),
        (replace(task, image=Bank(torch.stack((task.image.rows[0], other.image.rows[1])))), (False, True, True)),
        (replace(task, emotion=Bank(torch.stack((task.emotion.rows[0], other.emotion.rows[1])))), (False, False, True)),
    ):
        for guidance, seen in zip((NOTHING_GIVEN, IMAGE, EVERYTHING), seen_by, strict=True):
            (first,), (second,) = (predicted(unet, one, guidance) for one in (task, changed))
            difference = deviation(second, first)
            assert difference > 10 * ROUNDING if seen else difference < ROUNDING


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("reuse", [NOTHING, Reuse(steps=2), Reuse(steps=3, guidance=True)])
def test_batches_of_any_size(unet: DiceTalkUNet, task: Conditioning, size: int, reuse: Reuse) -> None:
    """In steps that are computed whole and in those that are not."""
    guidance = Guidance(3, 6)
    whole = predicted(unet, task, guidance, BatchSize(3), reuse, steps=3)
    parts = predicted(unet, task, guidance, BatchSize(size), reuse, steps=3)
    assert all(deviation(part, one) < GUIDED_ROUNDING for part, one in zip(parts, whole, strict=True))


def test_the_batch_becomes_smaller_when_memory_runs_out(
    unet: DiceTalkUNet, task: Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, sizes = unet.predict, []

    def tight(latents: Tensor, *rest: Any) -> Tensor:
        sizes.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(latents, *rest)

    (whole,) = predicted(unet, task, Guidance(3, 6))
    monkeypatch.setattr(unet, "predict", tight)
    (found,) = predicted(unet, task, Guidance(3, 6), BatchSize(3))
    assert sizes == [3, 1, 1, 1]
    assert deviation(found, whole) < GUIDED_ROUNDING


def test_the_timestep_is_that_of_the_step(
    unet: DiceTalkUNet, task: Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, times = unet.predict, []

    def noted(latents: Tensor, timestep: Tensor, *rest: Any) -> Tensor:
        times.append(float(timestep))
        return plain(latents, timestep, *rest)

    monkeypatch.setattr(unet, "predict", noted)
    predicted(unet, task, EVERYTHING, steps=4)
    assert times == karras_schedule(4).timesteps.tolist()
