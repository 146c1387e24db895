"""From latents to frames, a chunk at a time, so that memory does not grow with the video's length."""

from collections.abc import Iterator
from functools import partial

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from dice_talk.diffusion.denoise import LATENT_SCALE
from dice_talk.diffusion.memory import BatchSize

CHUNK = 10
"""Frames decoded together. The temporal decoder's result depends on it: this is the published number."""
TIGHT_CHUNK = 4
"""Where memory runs out."""


def decode(vae: AutoencoderKLTemporalDecoder, latents: Tensor, frames: int, batch: BatchSize) -> Iterator[Tensor]:
    """The first `frames` of `latents` (1, T, 4, h, w) as images (3, H, W), about [0, 1], not clamped, in float32.

    The last chunk is filled up with padding frames, which change those beside them, as published; padding behind it
    is never decoded. Where memory runs out, chunks are decoded in smaller pieces.
    """
    chunk = batch.size
    for start in range(0, frames, chunk):
        images = batch.run(partial(_images, vae, latents[0, start : start + chunk], batch))
        yield from images[: frames - start]


def _images(vae: AutoencoderKLTemporalDecoder, latents: Tensor, batch: BatchSize) -> Tensor:
    """Images (N, 3, H, W) of `latents` (N, 4, h, w); frames decoded together influence each other."""
    weight = vae.decoder.conv_in.weight
    parts = (latents.to(weight) / LATENT_SCALE).split(batch.size)
    return torch.cat([vae.decode(part, num_frames=len(part)).sample.float() for part in parts]) / 2 + 0.5
