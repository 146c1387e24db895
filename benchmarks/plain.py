"""The diffusion engine's denoising as published: what `benchmarks.diffusion` compares with, and tests check against.

Every token of every frame is projected and attended to in every layer, temporal layers do so at every position, nothing
is kept from window to window, all branches are made in full, and all latents lie on the device.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dice_talk.diffusion.attention import AdapterAttention, Bank, Conditions, Tokens, current
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.denoise import BRANCHES, WINDOW, Guidance, Windows
from dice_talk.diffusion.schedule import Schedule, euler_step, scale_input
from dice_talk.diffusion.unet import DiceTalkUNet

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def materialised(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention by its definition; `q`, `k`, `v` (B, heads, T, d)."""
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


def plain_attention(attend: Attend) -> Callable[..., Tensor]:
    """Return an `AdapterAttention.forward` without any saving."""

    def forward(self: AdapterAttention, attn: Any, hidden_states: Tensor, **_context: Any) -> Tensor:
        conditions = current()

        def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
            return attend(q, k, v).transpose(1, 2).flatten(2)

        def tokens(source: Tokens) -> Tensor:
            rows = source.bank.rows[source.index]  # (B, F, T, D)
            if not self.temporal:
                return rows.flatten(0, 1)
            return rows.mean(1, keepdim=True).expand(-1, len(hidden_states) // len(rows), -1, -1).flatten(0, 1)

        query, image = attn.to_q(hidden_states), tokens(conditions.image)
        total = attended(query, attn.to_k(image), attn.to_v(image))
        mask = 1 if self.temporal else conditions.masks[query.shape[1]]
        for source, to_k, to_v in zip(conditions.adapters, self.to_k_ip, self.to_v_ip, strict=True):
            total = total + mask * attended(query, to_k(tokens(source)), to_v(tokens(source)))
        return attn.to_out[0](total)

    return forward


def plain_denoise(
    unet: DiceTalkUNet, task: Conditioning, guidance: Guidance, schedule: Schedule, latents: Tensor
) -> Tensor:
    """Denoise latents (1, T, 4, h, w) on the device. `unet` has diffusers' own blocks and `plain_attention`."""
    windows, total = Windows(), latents.shape[1]
    for step in range(len(schedule)):
        sigma, next_sigma = schedule.sigmas[step], schedule.sigmas[step + 1]
        after, covered = torch.zeros_like(latents), latents.new_zeros(total, 1, 1, 1)
        for frames in windows.at(step, total):
            before = latents[:, frames]
            picture = torch.cat((torch.zeros_like(task.reference), task.reference, task.reference))[:, None]
            noisy = scale_input(before, sigma).expand(BRANCHES, -1, -1, -1, -1)
            inputs = torch.cat((noisy, picture.expand(-1, WINDOW, -1, -1, -1)), 2).to(unet.dtype)
            conditions = forgetful(task.at(frames))
            output = unet.predict(inputs, schedule.timesteps[step].to(inputs.device), task.time_ids, conditions)
            after[:, frames] += euler_step(before, guidance.combine(output), sigma, next_sigma)
            covered[frames] += 1
        latents = after / covered
    return latents


def forgetful(conditions: Conditions) -> Conditions:
    """Return the same conditions, with tokens of their own for every frame of every branch."""

    def spread(source: Tokens) -> Tokens:
        rows = source.bank.rows[source.index].flatten(0, 1)
        return Tokens(Bank(rows), torch.arange(len(rows), device=rows.device).view(source.index.shape))

    audio, emotion = (spread(source) for source in conditions.adapters)
    pose = conditions.pose.expand(conditions.image.index.numel(), -1, -1, -1)
    return Conditions(spread(conditions.image), (audio, emotion), pose, conditions.masks)
