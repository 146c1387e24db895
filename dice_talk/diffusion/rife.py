"""IFNet of RIFE HDv3: estimates the flow from two frames to the frame midway between them.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", arXiv 2011.06294. Parameter names
are those of `flownet.pkl` without its `module.` prefix.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = (4, 2, 1)
"""Divisors of the frame size at which the three blocks look at the frames."""
_INPUTS = 3 + 3 + 1 + 4  # both warped frames, blend mask, flow
UNUSED_PREFIX = "block_tea."
"""The teacher block is in the checkpoint, but only training uses it."""


@dataclass(frozen=True)
class Motion:
    """The motion between two frames, as seen from the midway frame.

    `flow` (B, 4, H, W): from each pixel to its place in the first frame (x, y), then in the second, in pixels. `blend`
    (B, 1, H, W) in (0, 1): weight of the first frame.
    """

    flow: Tensor
    blend: Tensor


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def _head(channels: int, outputs: int) -> nn.Sequential:
    """Double the size twice."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1),
        nn.PReLU(channels // 2),
        nn.ConvTranspose2d(channels // 2, outputs, 4, 2, 1),
    )


class _Block(nn.Module):
    """Estimates corrections of flow and blend at one scale."""

    def __init__(self, channels: int = 90) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(_INPUTS, channels // 2, 2), _conv(channels // 2, channels, 2))
        self.convblock0 = nn.Sequential(_conv(channels, channels), _conv(channels, channels))
        self.convblock1 = nn.Sequential(_conv(channels, channels), _conv(channels, channels))
        self.convblock2 = nn.Sequential(_conv(channels, channels), _conv(channels, channels))
        self.convblock3 = nn.Sequential(_conv(channels, channels), _conv(channels, channels))
        self.conv1 = _head(channels, 4)
        self.conv2 = _head(channels, 1)

    def forward(self, frames: Tensor, flow: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Map `frames` (B, 7, H, W) and `flow` (B, 4, H, W) in pixels to corrections of flow and blend logits."""
        features = self.conv0(torch.cat((_resize(frames, 1 / scale), _resize(flow, 1 / scale) / scale), 1))
        for block in (self.convblock0, self.convblock1, self.convblock2, self.convblock3):
            features = features + block(features)
        return _resize(self.conv1(features), scale) * scale, _resize(self.conv2(features), scale)


class IFNet(nn.Module):
    """Three blocks from coarse to fine, each run in both directions of time and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.block0, self.block1, self.block2 = _Block(), _Block(), _Block()

    def forward(self, first: Tensor, second: Tensor) -> Motion:
        """Map frames (B, 3, H, W) in [0, 1], with H and W multiples of 16, to the motion between them."""
        flow = first.new_zeros(len(first), 4, *first.shape[2:])
        blend = flow[:, :1]
        warped = (first, second)
        for block, scale in zip((self.block0, self.block1, self.block2), SCALES, strict=True):
            ahead, ahead_blend = block(torch.cat((*warped, blend), 1), flow, scale)
            back, back_blend = block(torch.cat((*reversed(warped), -blend), 1), _swap(flow), scale)
            flow = flow + (ahead + _swap(back)) / 2
            blend = blend + (ahead_blend - back_blend) / 2
            warped = (warp(first, flow[:, :2]), warp(second, flow[:, 2:]))
        return Motion(flow, torch.sigmoid(blend))


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Sample `frames` (B, C, H, W) at each pixel's place plus `flow` (B, 2, H, W), in pixels. Edges are repeated."""
    height, width = frames.shape[2:]
    x = torch.linspace(-1, 1, width, device=flow.device, dtype=flow.dtype) + flow[:, 0] * (2 / (width - 1))
    y = torch.linspace(-1, 1, height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1] * (2 / (height - 1))
    # After clamping, no position lies outside and the padding never shows. Older torch has no "border" on Apple's GPUs.
    grid = torch.stack((x, y), -1).clamp(-1, 1)
    return functional.grid_sample(frames, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _swap(flow: Tensor) -> Tensor:
    """Exchange the two frames of a flow."""
    return torch.cat((flow[:, 2:], flow[:, :2]), 1)


def _resize(maps: Tensor, factor: float) -> Tensor:
    return functional.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
