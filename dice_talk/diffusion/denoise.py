"""The sampler: overlapping windows on a circle of frames, three-branch guidance and Euler steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dice_talk.diffusion.schedule import Schedule, euler_step, scale_input

WINDOW = 25
"""Frames that the UNet sees at once, and the number of padding frames after the last one."""
SHIFT = 7
"""Frames by which all windows move after each step, so that seams do not stay in one place."""
BRANCHES = 3
"""Guidance branches: unconditional; image; image, audio and emotion."""
LATENT_CHANNELS = 4
LATENT_SCALE = 0.18215
"""Scaling factor of SVD's VAE."""

VAE_STRIDE = 8
"""Pixels of an image per latent, along one side."""

Predict = Callable[[Tensor, int, Tensor], Tensor]
"""The guided v-prediction: maps the scaled latents (1, W, 4, h, w) of frames (W,) at a step to (1, W, 4, h, w)."""
OnStep = Callable[[int, Tensor], None]
"""Called after each step with the number of finished steps and the latents (1, T, 4, h, w), from which sampling can
resume. Ends the sampling if it raises.
"""


@dataclass(frozen=True)
class Windows:
    """The windows of a sequence: `size` frames each, `overlap` shared, moved back by `shift` more after each step.

    They stay in place for `steps` steps, which each window computes on its own. The published value is 1.
    """

    size: int = WINDOW
    overlap: int = 0
    shift: int = SHIFT
    steps: int = 1

    def count(self, total: int) -> int:
        """Return the number of windows in each step."""
        return len(range(0, total, self.size - self.overlap))

    def at(self, step: int, total: int) -> Iterator[Tensor]:
        """Yield the frame numbers (size,) of each window from `step` on, on a circle of `total` frames."""
        moved = step * self.shift % self.size
        for start in range(0, total, self.size - self.overlap):
            yield torch.arange(start - moved, start - moved + self.size) % total


@dataclass(frozen=True)
class Guidance:
    """Scales of classifier-free guidance from each branch to the next."""

    ref_scale: float
    emo_scale: float

    def combine(self, branches: Tensor) -> Tensor:
        """Combine the three branches (3, W, 4, h, w), in the order of `BRANCHES`, to (1, W, 4, h, w)."""
        nothing, image, everything = branches.float().chunk(BRANCHES)
        return nothing + self.ref_scale * (image - nothing) + self.emo_scale * (everything - image)


class Peers(Protocol):
    """The processes that render one video together."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def count(self) -> int:
        """The number of processes."""
        ...

    def all_reduce(self, latents: Tensor) -> None:
        """Replace every process's `latents` by their sum."""


@dataclass(frozen=True)
class _SingleProcess:
    rank: int = 0
    count: int = 1

    def all_reduce(self, latents: Tensor) -> None: ...


SINGLE_PROCESS: Peers = _SingleProcess()


def initial_latents(reference: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """Return the start of sampling: the portrait, an unscaled VAE mean (1, 4, h, w), plus `noise` (1, T, 4, h, w).

    Noise in float32 is overwritten, because it is as long as the video and not needed any more.
    """
    return noise.float().mul_(schedule.sigmas[0].to(noise.device)).add_(LATENT_SCALE * reference.float()[:, None])


def draw_noise(
    seed: int, frames: int, image_shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return noise (1, frames, 4, H/8, W/8) for an image of `image_shape` (1, 3, H, W).

    The published code first draws noise for the reference image, in float32, and multiplies it by 0. It is drawn here
    too: a seed gives the published video only if the numbers are drawn in the same order.
    """
    generator = torch.Generator(device).manual_seed(seed)
    torch.randn(image_shape, generator=generator, device=device)
    height, width = (side // VAE_STRIDE for side in image_shape[2:])
    return torch.randn((1, frames, 4, height, width), generator=generator, device=device, dtype=dtype)


def denoise(
    predict: Predict,
    latents: Tensor,
    schedule: Schedule,
    windows: Windows,
    on_step: OnStep,
    first_step: int = 0,
    peers: Peers = SINGLE_PROCESS,
) -> Tensor:
    """Return the latents (1, T, 4, h, w) after the steps from `first_step` on. T includes the padding.

    The windows of a step depend on the previous step only. Frames covered by two windows are averaged. `latents` stay
    on the CPU and only one window at a time goes to `predict`, so device memory does not grow with T.

    Two buffers take turns, and `latents` is one of them. It is overwritten; so are, two steps later, the latents passed
    to `on_step`. `peers`: other processes that compute a share of the windows.
    """
    total = latents.shape[1]
    after, covered = torch.empty_like(latents), latents.new_empty(total, 1, 1, 1)
    for first in range(first_step, len(schedule), windows.steps):
        steps = range(first, min(first + windows.steps, len(schedule)))
        after.zero_()
        covered.zero_()
        for number, frames in enumerate(windows.at(first, total)):
            covered[frames] += 1
            if number % peers.count == peers.rank:
                after[:, frames] += _denoise_window(predict, latents[:, frames], schedule, steps, frames)
        peers.all_reduce(after)
        latents, after = after.div_(covered), latents
        on_step(steps.stop, latents)
    return latents


def _denoise_window(predict: Predict, latents: Tensor, schedule: Schedule, steps: range, frames: Tensor) -> Tensor:
    for step in steps:
        sigma, next_sigma = schedule.sigmas[step], schedule.sigmas[step + 1]
        output = predict(scale_input(latents, sigma), step, frames).to(latents.device)
        latents = euler_step(latents, output, sigma, next_sigma)
    return latents
