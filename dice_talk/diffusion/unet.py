"""DICE-Talk's UNet: Stable Video Diffusion's, with pose features after `conv_in` and two adapters in every `attn2`.

diffusers' own class runs unchanged. What it has no argument for (tokens, mask, pose) reaches the processors through a
context variable, so that several threads can share one set of weights, each with its own conditions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

ADAPTERS = 2
"""Audio and emotion, in the order of the published keys `to_k_ip.{0,1}`."""
LEVELS = 4
"""Resolutions inside the UNet; each has half the side of the one before."""


@dataclass(frozen=True)
class Bank:
    """Distinct tokens that frames point to, and their projections where they outlive one forward pass.

    `rows` (M, T, D). `keep`: the rows serve many forward passes, so K and V are computed once per layer and kept.
    """

    rows: Tensor
    keep: bool = False
    _projected: dict[nn.Linear, Tensor] = field(default_factory=dict, repr=False)

    def project(self, layer: nn.Linear) -> Tensor:
        """`layer` on every row: (M, T, C)."""
        if layer in self._projected:
            return self._projected[layer]
        projected: Tensor = layer(self.rows)
        if self.keep:
            self._projected[layer] = projected
        return projected


@dataclass(frozen=True)
class Tokens:
    """One source of tokens for every frame of every branch: row `index[b, f]` of the bank. `index` (B, F)."""

    bank: Bank
    index: Tensor

    def per_frame(self, layer: nn.Linear) -> Tensor:
        """Projected by `layer`: (B*F, T, C)."""
        return self.bank.project(layer)[self.index.flatten()]

    @cached_property
    def mean(self) -> Tensor:
        """Mean over the frames, which is what temporal layers attend to: (B, T, D). Computed once, for all layers."""
        return self.bank.rows[self.index].mean(1)

    def of(self, branches: slice) -> "Tokens":
        """Those of some branches only."""
        return Tokens(self.bank, self.index[branches])


@dataclass(frozen=True)
class Conditions:
    """All that one forward pass is conditioned on, beside the latents.

    `image` has one token a frame, `adapters` (audio, emotion) have T. `pose` (N, C, h, w), N is 1 or F.
    `masks`: face mask by number of positions, each (1, h*w, 1); see `face_mask_levels`.
    """

    image: Tokens
    adapters: tuple[Tokens, Tokens]
    pose: Tensor
    masks: dict[int, Tensor]

    def of(self, branches: slice) -> "Conditions":
        """Those of some guidance branches only."""
        audio, emotion = self.adapters
        return replace(self, image=self.image.of(branches), adapters=(audio.of(branches), emotion.of(branches)))


_conditions: ContextVar[Conditions] = ContextVar("conditions")


@contextmanager
def _active(conditions: Conditions) -> Iterator[None]:
    token = _conditions.set(conditions)
    try:
        yield
    finally:
        _conditions.reset(token)


def face_mask_levels(mask: Tensor, height: int, width: int) -> dict[int, Tensor]:
    """The face mask (1, 1, H, W) at every level's token grid, from latents of `height` x `width`: {h*w: (1, h*w, 1)}.

    Bicubic straight from full size without antialiasing: it overshoots [0, 1], as published (fact page, section 4).
    """
    masks = {}
    for _ in range(LEVELS):
        small = functional.interpolate(mask, (height, width), mode="bicubic", align_corners=False)
        masks[height * width] = small.flatten(2).transpose(1, 2)
        height, width = (height + 1) // 2, (width + 1) // 2
    return masks


class AdapterAttention(nn.Module):
    """The processor of every `attn2`: attention to the image token, to the audio and to the emotion, summed.

    The image context is one token: its softmax is 1, so that term is `to_v(token)` whatever the query. In temporal
    layers the context is the window's mean, the same at all positions: K and V are computed once, not per position.
    """

    def __init__(self, context_width: int, width: int, temporal: bool) -> None:
        super().__init__()
        self.temporal = temporal
        self.to_k_ip = nn.ModuleList(nn.Linear(context_width, width, bias=False) for _ in range(ADAPTERS))
        self.to_v_ip = nn.ModuleList(nn.Linear(context_width, width, bias=False) for _ in range(ADAPTERS))

    def forward(self, attn: Attention, hidden_states: Tensor, **_unused: Any) -> Tensor:
        """`hidden_states` (B*F, h*w, C) in spatial layers, (B*h*w, F, C) in temporal ones; the same shape comes back.

        The keyword arguments that diffusers passes (its own context and mask) have no meaning here.
        """
        conditions = _conditions.get()
        term = self._temporal if self.temporal else self._spatial
        result: Tensor = attn.to_out[0](term(attn, hidden_states, conditions))
        return result

    def _spatial(self, attn: Attention, hidden: Tensor, conditions: Conditions) -> Tensor:
        query = attn.to_q(hidden)
        mask = conditions.masks[hidden.shape[1]]
        total = conditions.image.per_frame(attn.to_v)  # (B*F, 1, C), broadcast over positions
        for tokens, to_k, to_v in zip(conditions.adapters, self.to_k_ip, self.to_v_ip, strict=True):
            total = total + mask * _attend(query, tokens.per_frame(to_k), tokens.per_frame(to_v), attn.heads)
        return total

    def _temporal(self, attn: Attention, hidden: Tensor, conditions: Conditions) -> Tensor:
        image = attn.to_v(conditions.image.mean)  # (B, 1, C)
        query = attn.to_q(hidden).view(len(image), -1, image.shape[-1])  # (B, h*w*F, C)
        total = image
        for tokens, to_k, to_v in zip(conditions.adapters, self.to_k_ip, self.to_v_ip, strict=True):
            total = total + _attend(query, to_k(tokens.mean), to_v(tokens.mean), attn.heads)
        return total.view(*hidden.shape[:2], -1)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of `query` (B, N, C) to `key` and `value` (B, T, C), without materialising the weights."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class DiceTalkUNet(UNetSpatioTemporalConditionModel):
    """SVD's UNet with the published adapters; its keys are those of `unet.pth`."""

    def install_adapters(self) -> "DiceTalkUNet":
        """Gives every `attn2` its adapters and `conv_in` its pose features. Call once, before loading weights."""
        for name, module in self.named_modules():
            if name.endswith("attn2"):
                width = module.to_q.out_features
                temporal = "temporal_transformer_blocks" in name
                module.set_processor(AdapterAttention(module.to_k.in_features, width, temporal))
        self.conv_in.register_forward_hook(_add_pose)
        return self

    def predict(self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions) -> Tensor:
        """The model's output (B, F, 4, h, w) for `latents` (B, F, 8, h, w), `timestep` () and `time_ids` (B, 3)."""
        placeholder = latents.new_zeros(len(latents), 1, 1)  # diffusers passes it on; no processor reads it
        with _active(conditions):
            output: Sequence[Tensor] = self(latents, timestep, placeholder, time_ids, return_dict=False)
        return output[0]


def build_unet(config: dict[str, Any]) -> DiceTalkUNet:
    """The UNet of a diffusers `config.json`, with adapters, weights yet to be loaded."""
    unet: DiceTalkUNet = DiceTalkUNet.from_config(config)
    return unet.install_adapters()


def _add_pose(_module: nn.Module, _inputs: Any, features: Tensor) -> Tensor:
    pose = _conditions.get().pose
    return (features.unflatten(0, (-1, len(pose))) + pose).flatten(0, 1)  # one pose, or one a frame, in every branch
