"""From latents to frames, a chunk at a time, so that memory does not grow with the video's length."""

from collections.abc import Iterator

from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from dice_talk.diffusion.denoise import LATENT_SCALE

CHUNK = 10
"""Frames decoded together. The temporal decoder's result depends on it: this is the published number."""


def decode(vae: AutoencoderKLTemporalDecoder, latents: Tensor, frames: int, chunk: int = CHUNK) -> Iterator[Tensor]:
    """The first `frames` of `latents` (1, T, 4, h, w) as images (3, H, W), about [0, 1], not clamped, in float32.

    The last chunk is filled with padding frames, which change those beside them, as published; padding behind it is
    never decoded.
    """
    device, dtype = next(vae.decoder.parameters()).device, next(vae.decoder.parameters()).dtype
    for start in range(0, frames, chunk):
        piece = latents[0, start : start + chunk].to(device, dtype) / LATENT_SCALE
        images = vae.decode(piece, num_frames=len(piece)).sample.float() / 2 + 0.5
        yield from images[: frames - start]
