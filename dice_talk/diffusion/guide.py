"""The UNet under three-branch guidance: the sampler's predictor, window by window."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dice_talk.diffusion.attention import Conditions
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.denoise import BRANCHES, Guidance
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.reuse import NOTHING, Reuse
from dice_talk.diffusion.schedule import Schedule
from dice_talk.diffusion.unet import DiceTalkUNet


@dataclass(frozen=True)
class _Pass:
    """Inputs of one forward pass: `latents` (3, F, 8, h, w), `timestep` (), `time_ids` (3, 3)."""

    latents: Tensor
    timestep: Tensor
    time_ids: Tensor
    conditions: Conditions

    def of(self, branches: slice) -> tuple[Tensor, Tensor, Tensor, Conditions]:
        """Return the inputs of some guidance branches."""
        return self.latents[branches], self.timestep, self.time_ids[branches], self.conditions.of(branches)


class GuidedPredictor:
    """The `Predict` of one render. `batch`: branches per forward pass, which affects results by rounding only.

    With `reuse`, the steps of a window must follow one another, because only the last window's features are cached.
    """

    def __init__(
        self,
        unet: DiceTalkUNet,
        conditioning: Conditioning,
        guidance: Guidance,
        schedule: Schedule,
        batch: BatchSize,
        reuse: Reuse = NOTHING,
    ) -> None:
        self._unet, self._conditioning, self._guidance, self._batch, self._reuse = (
            unet,
            conditioning,
            guidance,
            batch,
            reuse,
        )
        self._timesteps = schedule.timesteps.to(conditioning.reference.device)
        picture = torch.cat((torch.zeros_like(conditioning.reference), conditioning.reference, conditioning.reference))
        self._picture = picture[:, None].to(unet.dtype)  # the first branch has no image
        self._first_cached = BRANCHES - 1 if reuse.guidance else 0
        self._deep = self._guidance_delta = picture.new_empty(0)

    def __call__(self, latents: Tensor, step: int, frames: Tensor) -> Tensor:
        """Return the guided v-prediction; see `Predict`."""
        return self._batch.run(partial(self._predict, latents, step, frames))

    def _predict(self, latents: Tensor, step: int, frames: Tensor) -> Tensor:
        noisy = latents.to(self._picture).expand(BRANCHES, -1, -1, -1, -1)
        inputs = torch.cat((noisy, self._picture.expand(-1, len(frames), -1, -1, -1)), 2)
        given = _Pass(inputs, self._timesteps[step], self._conditioning.time_ids, self._conditioning.at(frames))
        if step % self._reuse.steps:
            return self._predict_from_cache(given)
        branches = self._predict_all(given)
        guided = self._guidance.combine(branches)
        if self._reuse.guidance:
            self._guidance_delta = guided - branches[self._first_cached :].float()
        return guided

    def _predict_all(self, given: _Pass) -> Tensor:
        """Return all branches (3, F, 4, h, w)."""
        if self._reuse.steps == 1:
            return torch.cat([self._unet.predict(*given.of(part)) for part in self._parts()])
        outputs, deep = zip(*(self._unet.predict_with_features(*given.of(part)) for part in self._parts()), strict=True)
        together = deep[0] if len(deep) == 1 else torch.cat(deep)
        kept = together.unflatten(0, (BRANCHES, -1))[self._first_cached :]
        self._deep = kept.clone() if self._first_cached else kept  # frees what is not needed
        return torch.cat(outputs)

    def _predict_from_cache(self, given: _Pass) -> Tensor:
        outputs = []
        for part in self._parts(self._first_cached):
            deep = self._deep[part.start - self._first_cached : part.stop - self._first_cached].flatten(0, 1)
            outputs.append(self._unet.predict_last_layer(*given.of(part), deep))
        branches = torch.cat(outputs)
        return branches.float() + self._guidance_delta if self._reuse.guidance else self._guidance.combine(branches)

    def _parts(self, first: int = 0) -> list[slice]:
        """Split the branches from `first` on into batches."""
        size = self._batch.size
        return [slice(start, min(start + size, BRANCHES)) for start in range(first, BRANCHES, size)]
