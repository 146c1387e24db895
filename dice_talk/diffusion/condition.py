"""The conditioning of the UNet for one video: computed once, looked up for each window.

Three guidance branches go through the UNet together: unconditional; image; image, audio and emotion.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from dice_talk.audio import Samples
from dice_talk.diffusion.attention import Bank, Conditions, Tokens, face_mask_levels
from dice_talk.diffusion.checkpoints import Models
from dice_talk.diffusion.denoise import BRANCHES
from dice_talk.diffusion.layers import TokenProjector
from dice_talk.diffusion.memory import retry_on_oom
from dice_talk.diffusion.preprocess import OnWindow, Picture, encode_speech
from dice_talk.diffusion.repeat import in_float32
from dice_talk.emotions import Emotion

logger = logging.getLogger(__name__)
MODEL_FPS = 12.5
"""Frames per second that the UNet generates: one for two of Whisper's 25."""
MOTION_BUCKET = 8.0
EXPRESSION_BUCKET = 16.0
KEPT_AUDIO_FRAMES = 128
"""Up to this length (10 s), K and V of all audio tokens are cached over the steps: 1.6 MB per frame in half precision.

For longer videos they are recomputed for each window, so that memory does not grow with the length. This adds 0.04 % to
the UNet's work (0.041 of 95 TFLOP per forward pass at 512 px).
"""

AudioRows = Callable[[Tensor], tuple[Bank, Tensor]]
"""Maps the frames (W,) of a window to a bank, whose row 0 is silence, and to the row of each frame in it (W,)."""


@dataclass(frozen=True)
class Conditioning:
    """Everything about one video that does not change from step to step.

    `frames`: without padding. `reference` (1, 4, h, w): the portrait's latent, unscaled. `image` and `emotion`: banks
    of two rows, absent and present. `pose` (1, C, h, w) and `masks` as in `Conditions`. `time_ids` (3, 3).
    """

    frames: int
    reference: Tensor
    image: Bank
    emotion: Bank
    audio: AudioRows
    pose: Tensor
    masks: dict[int, Tensor]
    time_ids: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the UNet that this is for."""
        return self.pose.dtype

    @property
    def finite(self) -> bool:
        """Whether all numbers are. Audio tokens were normalised before they were cast."""
        return all(bool(part.isfinite().all()) for part in (self.image.rows, self.emotion.rows, self.pose))

    def to(self, dtype: torch.dtype) -> "Conditioning":
        """Return the same for a UNet of another precision."""

        def audio(frames: Tensor) -> tuple[Bank, Tensor]:
            bank, rows = self.audio(frames)
            return Bank(bank.rows.to(dtype)), rows

        return replace(
            self,
            image=Bank(self.image.rows.to(dtype), cache=True),
            emotion=Bank(self.emotion.rows.to(dtype), cache=True),
            audio=audio,
            pose=self.pose.to(dtype),
            masks={positions: mask.to(dtype) for positions, mask in self.masks.items()},
        )

    def at(self, frames: Tensor) -> Conditions:
        """Return the conditions of all branches for a window `frames` (W,). Padding has no audio and no emotion."""
        real = (frames < self.frames).long().to(self.pose.device)
        absent, present = torch.zeros_like(real), torch.ones_like(real)
        bank, rows = self.audio(frames)
        return Conditions(
            image=Tokens(self.image, torch.stack((absent, present, present))),
            adapters=(
                Tokens(bank, torch.stack((absent, absent, rows))),
                Tokens(self.emotion, torch.stack((absent, absent, real))),
            ),
            pose=self.pose,
            masks=self.masks,
            twins=True,
        )


def audio_rows(net: TokenProjector, heard: Tensor, silence: Tensor) -> AudioRows:
    """Return the audio tokens of a sequence: cached if there are few, computed on demand if there are many.

    `heard` (F, 10, L, D'): Whisper's hidden states for each model frame, on any device. `silence` (1, T, D):
    unconditional tokens, on the UNet's device and in its precision. `net` computes in its own.
    """
    count = len(heard)

    def tokens(frames: Tensor) -> Tensor:
        return torch.cat((silence, net(heard[frames].flatten(1).to(net.proj1.weight)).to(silence)))

    if count <= KEPT_AUDIO_FRAMES:
        kept = Bank(tokens(torch.arange(count)), cache=True)
        return lambda frames: (kept, torch.where(frames < count, frames + 1, 0).to(silence.device))

    def on_demand(frames: Tensor) -> tuple[Bank, Tensor]:
        real = frames < count
        rows = torch.where(real, real.cumsum(0), 0)
        return Bank(tokens(frames[real])), rows.to(silence.device)

    return on_demand


def prepare_conditioning(
    models: Models, picture: Picture, samples: Samples, emotion: Emotion, dynamic_scale: float, on_window: OnWindow
) -> Conditioning:
    """Run every network except the UNet once. `samples`: mono at 16 kHz, at least one model frame.

    If the result does not fit into the models' precision, it is in float32.
    """
    heard = encode_speech(models.whisper, models.mel, samples, on_window)
    found = retry_on_oom(partial(_conditioning, models, picture, heard, emotion, dynamic_scale))
    if found.finite or models.dtype == torch.float32:
        return found
    logger.warning("The conditioning overflowed in %s and is computed in float32", models.dtype)
    precise = replace(
        models,
        dtype=torch.float32,
        image_encoder=in_float32(models.image_encoder),
        pose_guider=in_float32(models.pose_guider),
    )
    return retry_on_oom(partial(_conditioning, precise, picture, heard, emotion, dynamic_scale))


def _conditioning(
    models: Models, picture: Picture, heard: Tensor, emotion: Emotion, dynamic_scale: float
) -> Conditioning:
    device, dtype = models.device, models.dtype
    reference: Tensor = models.vae.encode(picture.reference.to(device)).latent_dist.mode()
    image: Tensor = models.image_encoder(picture.clip.to(device, dtype)).image_embeds[:, None]
    prior = models.priors[emotion].to(device)
    silence = models.audio_linear(torch.zeros_like(heard[:1]).flatten(1).to(device)).to(dtype)
    masks = face_mask_levels(picture.mask[:, :1].to(device), *reference.shape[2:])
    return Conditioning(
        frames=len(heard),
        reference=reference,
        image=Bank(torch.cat((torch.zeros_like(image), image)), cache=True),
        emotion=Bank(models.emo_model(torch.cat((torch.zeros_like(prior), prior))).to(dtype), cache=True),
        audio=audio_rows(models.audio_linear, heard, silence),
        pose=models.pose_guider(picture.mask.to(device, dtype)),
        masks={positions: mask.to(dtype) for positions, mask in masks.items()},
        time_ids=time_ids(dynamic_scale, device),
    )


def time_ids(dynamic_scale: float, device: torch.device) -> Tensor:
    """Return the frame rate and the two motion buckets for each branch: (3, 3)."""
    ids = (MODEL_FPS, MOTION_BUCKET * dynamic_scale, EXPRESSION_BUCKET * dynamic_scale)
    return torch.tensor([ids] * BRANCHES, device=device)
