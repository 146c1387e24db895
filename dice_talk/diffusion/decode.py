"""Decodes latents to frames in chunks, so that memory does not grow with the video's length."""

from collections.abc import Iterator
from functools import partial

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from dice_talk.diffusion.denoise import LATENT_SCALE
from dice_talk.diffusion.memory import BatchSize

CHUNK = 10
"""Frames decoded together. The temporal decoder's result depends on this number; it is the published one."""
TIGHT_CHUNK = 4
"""Frames decoded together after memory has run out."""


def decode(vae: AutoencoderKLTemporalDecoder, latents: Tensor, frames: int, batch: BatchSize) -> Iterator[Tensor]:
    """Yield the first `frames` of `latents` (1, T, 4, h, w) as images (3, H, W) in float32.

    Values are about [0, 1] and not clamped. As in the published code, the last chunk is filled up with padding frames,
    which affect their neighbours. Padding beyond it is never decoded. If memory runs out, chunks become smaller.
    """
    chunk = batch.size
    for start in range(0, frames, chunk):
        images = batch.run(partial(_images, vae, latents[0, start : start + chunk], batch))
        yield from images[: frames - start]


def _images(vae: AutoencoderKLTemporalDecoder, latents: Tensor, batch: BatchSize) -> Tensor:
    """Decode `latents` (N, 4, h, w) to images (N, 3, H, W). Frames that are decoded together affect each other."""
    weight = vae.decoder.conv_in.weight
    parts = (latents.to(weight) / LATENT_SCALE).split(batch.size)
    return torch.cat([vae.decode(part, num_frames=len(part)).sample.float() for part in parts]) / 2 + 0.5
