"""Pictures out of latents: the right colours, the right frame, and now and then."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor

from dice_talk.diffusion.denoise import LATENT_SCALE
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.preview import PICTURES, expected, fit_colours, paint, showing
from dice_talk.diffusion.schedule import euler_step, karras_schedule, scale_input
from dice_talk.engine import Progress, RenderJob
from dice_talk.image import Pixels
from dice_talk.options import RenderOptions
from tests.diffusion.cases import deviation
from tests.diffusion.small import random

pytestmark = [pytest.mark.usefixtures("inference"), pytest.mark.usefixtures("recorder")]


def test_colours_of_a_linear_encoder_come_back() -> None:
    """A latent that is made of colours by a matrix is turned back into them."""
    portrait = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = torch.nn.functional.interpolate(portrait, (16, 8), mode="area")
    latent = torch.einsum("lc,bchw->blhw", random(4, 3), small) + random(1, 4, 1, 1, seed=1)
    matrix = fit_colours(latent, portrait)
    wanted = ((small[0] / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).to(torch.uint8).numpy()
    assert np.abs(paint(latent[0] * LATENT_SCALE, matrix).astype(int) - wanted).max() <= 1


def test_any_latent_can_be_painted() -> None:
    matrix = fit_colours(torch.zeros(1, 4, 4, 4), torch.zeros(1, 3, 32, 32))
    assert paint(torch.full((4, 4, 4), float("nan")), matrix).shape == (4, 4, 3)


@pytest.mark.parametrize("step", [0, 3, 7])
def test_without_noise_is_where_the_last_step_leads(step: int) -> None:
    sigma, latents, output = karras_schedule(8).sigmas[step], random(1, 2, 4, 4, 4) * 5, random(1, 2, 4, 4, 4, seed=1)
    wanted = euler_step(latents, output, sigma, torch.zeros(()))
    assert deviation(expected(scale_input(latents, sigma), output, sigma), wanted) < 1e-4


@pytest.mark.parametrize(("steps", "every"), [(8, 1), (20, 3), (25, 4), (50, 7)])
def test_one_frame_every_few_steps(steps: int, every: int) -> None:
    shown: list[Pixels] = []
    frames = torch.tensor([5, 6, 7])

    def predict(latents: Tensor, step: int, frames: Tensor) -> Tensor:
        return torch.zeros_like(latents)

    wrapped = showing(predict, karras_schedule(steps), 6, random(5, 3), shown.append)
    for step in range(steps):
        before = len(shown)
        assert torch.equal(wrapped(random(1, 3, 4, 2, 2), step, frames), torch.zeros(1, 3, 4, 2, 2))
        wrapped(random(1, 3, 4, 2, 2), step, frames + 9)
        wrapped(random(1, 3, 4, 2, 2), step, frames + 1)
        assert len(shown) - before == (step % every == 0)
    assert PICTURES - 1 <= len(shown) <= PICTURES


def test_a_render_shows_itself(engine: DiffusionEngine, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """With a preview every few steps, in the middle of the progress, and without any change to the video."""
    options = RenderOptions(emotion="happy", seed=3, duration=0.4, fps=8, inference_steps=10).model_copy(
        update={"min_resolution": 64}
    )
    told: list[Progress] = []
    engine.render(RenderJob(portrait, speech, tmp_path / "out.mp4", options), told.append)
    shown = [progress for progress in told if progress.preview]
    assert len(shown) == 5 and {progress.stage for progress in shown} == {"denoise"}
    pictures = [Image.open(io.BytesIO(progress.preview or b"")) for progress in shown]
    assert {picture.size for picture in pictures} == {(8, 8)}
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert replace(told[-1], preview=None) == told[-1]
