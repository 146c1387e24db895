"""Optimises the UNet for a GPU that renders a lot: compiled blocks, and weights in the layout of tensor cores.

Norms, activations and sums are fused into few kernels. Off by default, because compiling takes minutes at startup.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import nn

from dice_talk.diffusion.attention import Bank, SpatialBlock, TemporalBlock, face_mask_levels
from dice_talk.diffusion.checkpoints import Models
from dice_talk.diffusion.condition import Conditioning, time_ids
from dice_talk.diffusion.denoise import BRANCHES, VAE_STRIDE, WINDOW, Guidance
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.reuse import REUSE
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.options import Quality

RECOMPILE_LIMIT = 128
"""Blocks of equal widths share compiled code. The published UNet has about twenty kinds, but torch's own limit is 8."""
WARM_UP = ((256, 256), (384, 320))
"""Sizes in pixels. Two of them make torch treat sizes as symbols."""
logger = logging.getLogger(__name__)


def optimise(models: Models) -> None:
    """Compile and warm up everything, so that no render waits for the compiler."""
    began = time.monotonic()
    use_channels_last(models.unet)
    compile_blocks(models.unet)
    for height, width in WARM_UP:
        warm_up(models, height, width)
    logger.info("The UNet was compiled in %.0f s", time.monotonic() - began)


def compile_blocks(unet: DiceTalkUNet, **how: Any) -> None:
    """Compile the blocks of a UNet that has been optimised for inference, each kind when it first runs.

    Sizes are symbolic, so videos of any size and length run the code compiled for the first one. `how`: arguments for
    `torch.compile`.
    """
    raise_recompile_limit()
    compiled: Callable[[Any], Any] = torch.compile(**{"dynamic": True, "fullgraph": True, **how})
    for module in unet.modules():
        if isinstance(module, SpatialBlock | TemporalBlock):
            setattr(module, "compute", compiled(module.compute))  # noqa: B010 - mypy takes methods for constants
        elif isinstance(module, SpatioTemporalResBlock):
            module.forward = compiled(module.forward)


def raise_recompile_limit() -> None:
    """Raise torch's recompilation limit, which is separate for each thread."""
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT


def use_channels_last(unet: DiceTalkUNet) -> None:
    """Store convolution weights channels-last, as NVIDIA's fastest kernels read them. Their values do not change."""
    for module in unet.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)


def warm_up(models: Models, height: int, width: int) -> None:
    """Run everything that denoising runs, once, on zeros."""
    unet, device = models.unet, models.device
    rows, columns = height // VAE_STRIDE, width // VAE_STRIDE

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=device, dtype=models.dtype)

    tokens = Bank(zeros(2, models.audio_linear.tokens, models.audio_linear.width), cache=True)
    nothing = zeros(1, 4, rows, columns)
    conditioning = Conditioning(
        frames=WINDOW,
        reference=nothing,
        image=Bank(zeros(2, 1, models.audio_linear.width), cache=True),
        emotion=tokens,
        audio=lambda frames: (tokens, torch.zeros_like(frames, device=device)),
        pose=zeros(1, unet.conv_in.out_channels, rows, columns),
        masks=face_mask_levels(zeros(1, 1, height, width), rows, columns),
        time_ids=time_ids(1.0, device),
    )
    with torch.inference_mode():
        for quality, branches in ((Quality.EXACT, BRANCHES), (Quality.FAST, BRANCHES), (Quality.FAST, 1)):
            predict = GuidedPredictor(
                unet, conditioning, Guidance(1, 1), karras_schedule(2), BatchSize(branches), REUSE[quality]
            )
            for step in range(2):
                predict(zeros(1, WINDOW, 4, rows, columns), step, torch.arange(WINDOW))
