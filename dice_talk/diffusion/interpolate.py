"""Interpolates model frames at 12.5 per second to any frame rate, each frame at its own time."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain, pairwise

import torch
from torch import Tensor

from dice_talk.diffusion.condition import MODEL_FPS
from dice_talk.diffusion.memory import retry_on_oom
from dice_talk.diffusion.rife import Motion, warp

MODEL_RATE = Fraction(MODEL_FPS)
FindMotion = Callable[[Tensor, Tensor], Motion]
"""IFNet: maps two frames (1, 3, H, W) to the motion between them."""


def resample(find_motion: FindMotion, frames: Iterable[Tensor], fps: int, count: int) -> Iterator[Tensor]:
    """Yield `count` frames (3, H, W) in [0, 1] at `fps` from model frames (3, H, W), of which it holds two at a time.

    Frame k belongs to the time k / fps. It lies between two model frames and is interpolated from their motion. A time
    after the last model frame shows this frame. At 25 fps, the frames are those of the published code, and one more.
    """
    made = 0
    clamped = (retry_on_oom(partial(frame.clamp, 0, 1))[None] for frame in frames)
    for number, (first, second) in enumerate(pairwise(chain(clamped, (None,)))):
        motion = None
        while made < count and (second is None or made * MODEL_RATE < (number + 1) * fps):
            place = float(made * MODEL_RATE / fps - number)
            if second is None or place == 0:
                yield first[0]
            else:
                motion = motion or retry_on_oom(partial(find_motion, first, second))
                yield retry_on_oom(partial(between, first, second, motion, place))[0]
            made += 1
        if made == count:
            return


def between(first: Tensor, second: Tensor, motion: Motion, place: float) -> Tensor:
    """Return the frame at `place` in (0, 1) between `first` and `second` (B, 3, H, W), clamped to [0, 1].

    IFNet sees the motion from the midway frame. Pixels are assumed to move evenly: one that is at x at `place` was at x
    + (0.5 - place) * velocity midway, and its flow to both frames is scaled accordingly. At 0.5 this is RIFE's own
    frame, and towards the ends it becomes the first or the second frame.
    """
    velocity = motion.flow[:, 2:] - motion.flow[:, :2]  # pixels from the first frame to the second
    seen = warp(torch.cat((motion.flow, motion.blend), 1), (0.5 - place) * velocity)
    to_first, to_second, blend = seen[:, :2] * (2 * place), seen[:, 2:4] * (2 - 2 * place), seen[:, 4:]
    near, far = (1 - place) * blend, place * (1 - blend)
    mixed = (warp(first, to_first) * near + warp(second, to_second) * far) / (near + far)
    return mixed.clamp(0, 1)
