"""Noise levels and steps: the published ones, and what they do."""

import math
from collections.abc import Callable

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion.schedule import SIGMA_MAX, SIGMA_MIN, euler_step, karras_schedule, scale_input
from tests.diffusion.cases import Case, deviation
from tests.diffusion.small import random

pytestmark = pytest.mark.usefixtures("inference")
Read = Callable[[str], Case]


@pytest.mark.parity
def test_the_published_schedule(case: Read) -> None:
    given = case("scheduler")
    for name, wanted in given.tensors.items():
        if name.startswith("out.timesteps_"):
            schedule = karras_schedule(len(wanted))
            assert deviation(schedule.timesteps, wanted) < 1e-6
            assert deviation(schedule.sigmas, given[f"out.sigmas_{len(wanted)}"]) < 1e-6


@pytest.mark.parity
def test_published_steps(case: Read) -> None:
    given = case("scheduler")
    schedule = karras_schedule(8)
    for step in (0, 3, 7):
        before, sigma = given[f"in.x_scaled_{step}"], schedule.sigmas[step]
        assert deviation(scale_input(before, sigma), given[f"out.scale_model_input_{step}"]) < 1e-6
        after = euler_step(before, given["in.v"], sigma, schedule.sigmas[step + 1])
        assert deviation(after, given[f"out.step_{step}"]) < 1e-6


@pytest.mark.parametrize("steps", [2, 8, 50])
def test_noise_falls_from_all_to_none(steps: int) -> None:
    schedule = karras_schedule(steps)
    assert len(schedule) == len(schedule.timesteps) == len(schedule.sigmas) - 1 == steps
    assert schedule.sigmas[:-1].diff().max() < 0
    assert float(schedule.sigmas[0]) == pytest.approx(SIGMA_MAX)
    assert float(schedule.sigmas[-2]) == pytest.approx(SIGMA_MIN, rel=1e-3)
    assert float(schedule.sigmas[-1]) == 0
    assert schedule.sigmas.dtype == torch.float32
    assert float(schedule.timesteps[0]) == pytest.approx(math.log(SIGMA_MAX) / 4)


@pytest.mark.parametrize("sigma", [700.0, 1.0, 0.002])
def test_inputs_have_unit_variance(sigma: float) -> None:
    """Latents of unit variance and noise of `sigma` together."""
    latents = random(100_000) + sigma * random(100_000, seed=1)
    assert float(scale_input(latents, torch.tensor(sigma)).std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("next_sigma", [0.0, 0.5, 3.0])
def test_a_right_prediction_leads_to_latents_with_less_of_the_same_noise(next_sigma: float) -> None:
    """v is the noise turned against the latents, as the angle of `sigma` says."""
    clean, noise, sigma = random(64), random(64, seed=1), torch.tensor(5.0)
    noisy = clean + sigma * noise
    scale = (sigma**2 + 1) ** 0.5
    v = (noisy / (sigma**2 + 1) - clean) * scale / sigma
    stepped = euler_step(noisy, v, sigma, torch.tensor(next_sigma))
    assert torch.allclose(stepped, clean + next_sigma * noise, atol=1e-4)


def test_steps_are_computed_in_full_precision() -> None:
    latents, v = random(64).half(), random(64, seed=1).half()
    stepped = euler_step(latents, v, torch.tensor(5.0), torch.tensor(4.0))
    assert stepped.dtype == torch.float32
    assert torch.equal(stepped, euler_step(latents.float(), v.float(), torch.tensor(5.0), torch.tensor(4.0)))
