"""Pictures of a video while it is being denoised, from its latents, without the VAE.

A latent is nearly a linear function of the colours that it stands for, so a matrix turns it back into a colour. The
matrix is fitted for each video on its portrait, whose colours and latents are both known: that fits any VAE, and takes
a millisecond.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dice_talk.diffusion.denoise import LATENT_CHANNELS, LATENT_SCALE, Predict
from dice_talk.diffusion.schedule import Schedule
from dice_talk.image import Pixels

PICTURES = 8
"""About so many in each render."""
Show = Callable[[Pixels], None]


def fit_colours(reference: Tensor, portrait: Tensor) -> Tensor:
    """Return the matrix (5, 3) from latents and a constant to colours in [0, 1].

    `reference` (1, 4, h, w): the portrait's latent, unscaled. `portrait` (1, 3, H, W) in [-1, 1].
    """
    latent = reference.float().cpu() * LATENT_SCALE
    colours = functional.interpolate(portrait.float().cpu(), latent.shape[2:], mode="area") / 2 + 0.5
    return torch.linalg.lstsq(_with_constant(latent[0]), colours[0].flatten(1).T).solution


def paint(latent: Tensor, matrix: Tensor) -> Pixels:
    """Return the picture (h, w, 3) of a latent (4, h, w)."""
    colours = (_with_constant(latent.float().cpu()) @ matrix).nan_to_num().clamp(0, 1)
    pixels: Pixels = (colours * 255).round().to(torch.uint8).unflatten(0, latent.shape[1:]).numpy()
    return np.ascontiguousarray(pixels)


def expected(scaled: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
    """Return the latents without noise that the UNet expects. `scaled`, `output`: its input and its v-prediction."""
    return (scaled - sigma * output) / (sigma**2 + 1).sqrt()


def showing(predict: Predict, schedule: Schedule, frame: int, matrix: Tensor, show: Show) -> Predict:
    """Wrap `predict`, so that every few steps it shows a frame as it would be without noise."""
    left = set(range(0, len(schedule), -(-len(schedule) // PICTURES)))

    def shown(latents: Tensor, step: int, frames: Tensor) -> Tensor:
        output = predict(latents, step, frames)
        if step in left and (at := (frames == frame).nonzero()).numel():
            left.remove(step)  # two windows may cover the frame
            number = int(at[0])
            clean = expected(latents[0, number], output[0, number].to(latents), schedule.sigmas[step])
            show(paint(clean, matrix))
        return output

    return shown


def _with_constant(latent: Tensor) -> Tensor:
    """Return a latent (4, h, w) as rows (h*w, 5)."""
    return functional.pad(latent.reshape(LATENT_CHANNELS, -1).T, (0, 1), value=1.0)
