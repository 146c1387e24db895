"""UNets and tasks with random numbers, small in other ways than the tiny checkpoints'."""

from typing import Any

import torch
from torch import Tensor

from dice_talk.diffusion import tiny
from dice_talk.diffusion.attention import Bank, face_mask_levels
from dice_talk.diffusion.condition import Conditioning, audio_rows, time_ids
from dice_talk.diffusion.layers import TokenProjector
from dice_talk.diffusion.unet import DiceTalkUNet, build_unet

WIDE: dict[str, Any] = {**tiny.UNET, "block_out_channels": [32, 64, 128, 128], "num_attention_heads": [1, 2, 4, 4]}
"""Wider than the tiny checkpoints', whose group norms see so few numbers that they magnify rounding."""
SHALLOW: dict[str, Any] = {
    **tiny.UNET,
    "block_out_channels": [32, 32],
    "num_attention_heads": [1, 2],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
}
"""Two of the four levels: all kinds of blocks, in half the time."""
SAMPLED_ROUNDING = 5e-4
"""Tolerance of latents: steps from sigma 700 magnify rounding."""


def make_unet(config: dict[str, Any]) -> DiceTalkUNet:
    """The same weights each time, with diffusers' own blocks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_unet(config).eval().requires_grad_(False)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_task(frames: int, seed: int = 0, side: int = 8) -> Conditioning:
    """Return a task of `frames` model frames with latents of `side` x `side`, for all tiny UNets."""
    config: dict[str, Any] = tiny.UNET
    width, channels = config["cross_attention_dim"], config["block_out_channels"][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        listener = TokenProjector(10 * 5 * 8, 16, 2, width).eval()
    heard = random(frames, 10, 5, 8, seed=seed + 1)
    with torch.inference_mode():
        silence = listener(torch.zeros_like(heard[:1]).flatten(1))
        return Conditioning(
            frames=frames,
            reference=random(1, 4, side, side, seed=seed + 2),
            image=Bank(random(2, 1, width, seed=seed + 3), cache=True),
            emotion=Bank(random(2, 2, width, seed=seed + 4), cache=True),
            audio=audio_rows(listener, heard, silence),
            pose=random(1, channels, side, side, seed=seed + 5),
            masks=face_mask_levels(random(1, 1, 8 * side, 8 * side, seed=seed + 6), side, side),
            time_ids=time_ids(1.0, torch.device("cpu")),
        )
