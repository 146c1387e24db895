"""Repeats in float32 what half precision could not hold: a window's step, or a chunk of frames."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from dice_talk.diffusion.denoise import Predict
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import RenderFailed

Network = TypeVar("Network", bound=nn.Module)
BLACK = 0.5 / 255
"""Brightest value that becomes black. Some GPUs give black frames where numbers overflow."""
logger = logging.getLogger(__name__)


@dataclass
class Repeated:
    """What one render repeated in float32 because it overflowed in `dtype`."""

    dtype: torch.dtype
    conditioning: bool = False
    steps: int = 0  # of windows
    chunks: int = 0  # of frames

    def predict(self, predict: Predict, precise: Callable[[], Predict]) -> Predict:
        """Wrap `predict`, so that what is not finite is computed once more by `precise()`, which is called once.

        Raises `RenderFailed` if that does not help.
        """
        made: list[Predict] = []

        def checked(latents: Tensor, step: int, frames: Tensor) -> Tensor:
            output = predict(latents, step, frames)
            if output.isfinite().all():
                return output
            if self.dtype == torch.float32 or self.conditioning:
                raise overflow()
            self.steps += 1
            level = logging.WARNING if self.steps == 1 else logging.DEBUG  # it may well happen in each step
            logger.log(level, "Step %d of a window overflowed in %s and is repeated in float32", step + 1, self.dtype)
            if not made:
                made.append(precise())
            output = made[0](latents, step, frames)
            if not output.isfinite().all():
                raise overflow()
            return output

        return checked

    def images(self, decode: Callable[[], Tensor], precise: Callable[[], Tensor]) -> Tensor:
        """Return the images (N, 3, H, W) of `decode()`, or of `precise()` if they are not finite or one is black.

        Raises `RenderFailed` if they are not finite then either. A frame may really be black.
        """
        images = decode()
        if self.dtype != torch.float32 and not _are_sound(images):
            self.chunks += 1
            logger.warning("Frames overflowed in %s or are black, and are decoded again in float32", self.dtype)
            images = precise()
        if not images.isfinite().all():
            raise overflow()
        return images

    @property
    def notes(self) -> list[str]:
        """What the receipt says."""
        name = str(self.dtype).removeprefix("torch.")
        counts = ((self.steps, "steps of windows"), (self.chunks, "chunks of frames"))
        again = [f"{count} {what} were computed again in float32." for count, what in counts if count]
        if self.conditioning:
            again = ["What the portrait gave did not fit: denoised in float32.", *again]
        return [f"Computed in {name}.", *again]


def overflow() -> RenderFailed:
    """Return the error for numbers that do not fit into float32 either."""
    return RenderFailed(
        ErrorCode.OVERFLOW, "The model's numbers overflowed", "Lower ref_scale and emo_scale, or try another seed."
    )


def in_float32(network: Network) -> Network:
    """Return a copy in float32, into which half precision fits exactly."""
    twin = copy.deepcopy(network)
    for module in twin.modules():
        for compiled in ("compute", "forward"):  # these belong to the original; see `compiled.compile_blocks`
            module.__dict__.pop(compiled, None)
    nn.Module.to(twin, torch.float32)  # diffusers' own `to` warns
    return twin


def _are_sound(images: Tensor) -> bool:
    return bool(images.isfinite().all() and (images.flatten(1).amax(1) > BLACK).all())
