"""The noise levels of SVD-XT's Euler scheduler, as plain tensors and a pure step function.

A scheduler object would count its own steps and draw random numbers that it does not use. Two renders in one process
must share neither.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SIGMA_MAX, SIGMA_MIN = 700.0, 0.002
_RHO = 7.0
"""Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv 2206.00364), eq. 5."""


@dataclass(frozen=True)
class Schedule:
    """`timesteps` (S,) are inputs of the UNet; `sigmas` (S+1,), in float32, end with 0."""

    timesteps: Tensor
    sigmas: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)


def karras_schedule(steps: int) -> Schedule:
    """Return the noise levels for `steps` denoising steps, from 700 down to 0.002, then 0."""
    ramp = np.linspace(0, 1, steps)
    low, high = SIGMA_MIN ** (1 / _RHO), SIGMA_MAX ** (1 / _RHO)
    sigmas = torch.from_numpy((high + ramp * (low - high)) ** _RHO).float()
    return Schedule(timesteps=0.25 * sigmas.log(), sigmas=torch.cat((sigmas, sigmas.new_zeros(1))))


def scale_input(latents: Tensor, sigma: Tensor) -> Tensor:
    """Scale latents to unit variance, as the UNet expects them."""
    return latents / (sigma**2 + 1) ** 0.5


def euler_step(latents: Tensor, output: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """Return the latents at `next_sigma`, given those at `sigma` and the model's v-prediction, in float32."""
    latents, output = latents.float(), output.float()
    clean = output * (-sigma / (sigma**2 + 1) ** 0.5) + latents / (sigma**2 + 1)
    slope = (latents - clean) / sigma
    return latents + slope * (next_sigma - sigma)
