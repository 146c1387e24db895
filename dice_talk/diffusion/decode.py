"""Decodes latents to frames in chunks, so that memory does not grow with the video's length."""

from collections.abc import Iterator
from functools import cache, partial

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from dice_talk.diffusion.denoise import LATENT_SCALE
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.repeat import Repeated, in_float32

CHUNK = 10
"""Frames decoded together. The temporal decoder's result depends on this number; it is the published one."""
TIGHT_CHUNK = 4
"""Frames decoded together after memory has run out."""


def decode(
    vae: AutoencoderKLTemporalDecoder,
    latents: Tensor,
    frames: int,
    batch: BatchSize,
    repeated: Repeated | None = None,
) -> Iterator[Tensor]:
    """Yield the first `frames` of `latents` (1, T, 4, h, w) as images (3, H, W) in float32.

    Values are about [0, 1] and not clamped. As in the published code, the last chunk is filled up with padding frames,
    which affect their neighbours. Padding beyond it is never decoded. If memory runs out, chunks become smaller. What
    overflows is decoded again in float32 and noted in `repeated`.
    """
    chunk = batch.size
    repeated, precise = repeated or Repeated(vae.decoder.conv_in.weight.dtype), cache(lambda: in_float32(vae))
    for start in range(0, frames, chunk):
        part = latents[0, start : start + chunk]
        images = repeated.images(
            partial(batch.run, partial(_images, vae, part, batch)),
            lambda part=part: batch.run(partial(_images, precise(), part, batch)),  # type: ignore[misc]
        )
        yield from images[: frames - start]


def _images(vae: AutoencoderKLTemporalDecoder, latents: Tensor, batch: BatchSize) -> Tensor:
    """Decode `latents` (N, 4, h, w) to images (N, 3, H, W). Frames that are decoded together affect each other."""
    weight = vae.decoder.conv_in.weight
    parts = (latents.to(weight) / LATENT_SCALE).split(batch.size)
    return torch.cat([vae.decode(part, num_frames=len(part)).sample.float() for part in parts]) / 2 + 0.5
