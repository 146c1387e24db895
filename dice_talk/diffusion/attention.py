"""The UNet's attention layers: self-attention, and the adapters that the published network adds.

Conditions reach the processors through a context variable, so that several threads can share one set of weights and
still have their own conditions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

ADAPTERS = 2
"""Audio and emotion, in the order of the published keys `to_k_ip.{0,1}`."""
LEVELS = 4
"""Resolutions inside the UNet. Each has half the side of the previous one."""
MAX_HEADS = 32768
"""Limit for one call, because CUDA's attention kernels number heads with 16 bits."""


@dataclass(frozen=True)
class Bank:
    """Distinct tokens that frames refer to, and their cached projections.

    `rows` (M, T, D). `cache`: the rows serve many forward passes, so K and V are computed once per layer and cached.
    """

    rows: Tensor
    cache: bool = False
    _projected: dict[nn.Linear, Tensor] = field(default_factory=dict, repr=False)

    def project(self, layer: nn.Linear) -> Tensor:
        """Apply `layer` to every row: (M, T, C)."""
        if layer in self._projected:
            return self._projected[layer]
        projected: Tensor = layer(self.rows)
        if self.cache:
            self._projected[layer] = projected
        return projected


@dataclass(frozen=True)
class Tokens:
    """Tokens from one source for every frame of every branch: row `index[b, f]` of the bank. `index` (B, F)."""

    bank: Bank
    index: Tensor

    def per_frame(self, layer: nn.Linear) -> Tensor:
        """Return the tokens projected by `layer`: (B*F, T, C)."""
        return self.bank.project(layer)[self.index.flatten()]

    @cached_property
    def mean(self) -> Tensor:
        """Mean over the frames, which temporal layers attend to: (B, T, D). Computed once for all layers."""
        return self.bank.rows[self.index].mean(1)

    def of(self, branches: slice) -> "Tokens":
        """Return the tokens of some branches."""
        return Tokens(self.bank, self.index[branches])


@dataclass(frozen=True)
class Conditions:
    """Everything that one forward pass is conditioned on besides the latents.

    `image` has one token per frame, and `adapters` (audio, emotion) have T. `pose` (N, C, h, w) with N of 1 or F.
    `masks`: face mask by number of positions, each (1, h*w, 1); see `face_mask_levels`. `twins`: the last two of three
    branches start from the same latents, so everything before the first adapter is equal in both.
    """

    image: Tokens
    adapters: tuple[Tokens, Tokens]
    pose: Tensor
    masks: dict[int, Tensor]
    twins: bool = False

    def of(self, branches: slice) -> "Conditions":
        """Return the conditions of some guidance branches."""
        audio, emotion = self.adapters
        image, adapters = self.image.of(branches), (audio.of(branches), emotion.of(branches))
        return replace(
            self, image=image, adapters=adapters, twins=self.twins and len(image.index) == len(self.image.index)
        )


_conditions: ContextVar[Conditions] = ContextVar("conditions")


def current() -> Conditions:
    """Return the conditions of this thread's forward pass."""
    return _conditions.get()


@contextmanager
def active(conditions: Conditions) -> Iterator[None]:
    """Activate conditions for this thread within the block."""
    token = _conditions.set(conditions)
    try:
        yield
    finally:
        _conditions.reset(token)


def face_mask_levels(mask: Tensor, height: int, width: int) -> dict[int, Tensor]:
    """Return the face mask (1, 1, H, W) at the token grid of every level: {h*w: (1, h*w, 1)}.

    `height` and `width` are those of the latents. As in the published code, each level is scaled bicubically from full
    size without antialiasing, and the overshoot beyond [0, 1] is kept.
    """
    masks = {}
    for _ in range(LEVELS):
        small = functional.interpolate(mask, (height, width), mode="bicubic", align_corners=False)
        masks[height * width] = small.flatten(2).transpose(1, 2)
        height, width = (height + 1) // 2, (width + 1) // 2
    return masks


class AdapterAttention(nn.Module):
    """The processor of every `attn2`: attention to the image token, the audio and the emotion, summed.

    The image context is a single token, whose softmax is 1, so this term is `to_v(token)` for any query. In temporal
    layers the context is the mean of the window and equal at all positions, so K and V are computed once and not per
    position.
    """

    def __init__(self, context_width: int, width: int, temporal: bool) -> None:
        super().__init__()
        self.temporal = temporal
        self.to_k_ip = nn.ModuleList(nn.Linear(context_width, width, bias=False) for _ in range(ADAPTERS))
        self.to_v_ip = nn.ModuleList(nn.Linear(context_width, width, bias=False) for _ in range(ADAPTERS))

    def forward(self, attn: Attention, hidden_states: Tensor, **_unused: Any) -> Tensor:
        """Return the attention output in the shape of `hidden_states`.

        `hidden_states` is (B*F, h*w, C) in spatial layers, and (B*F, h*w, C) or (B*h*w, F, C) in temporal ones. The
        keyword arguments from diffusers (its own context and mask) are ignored.
        """
        return attend_to(attn, hidden_states, self.gather(attn, hidden_states.shape[1]))

    def gather(self, attn: Attention, positions: int) -> "AttentionInputs":
        """Collect what the active conditions hold for this layer."""
        conditions = current()
        if self.temporal:
            pairs = [
                (to_k(tokens.mean), to_v(tokens.mean))
                for tokens, to_k, to_v in zip(conditions.adapters, self.to_k_ip, self.to_v_ip, strict=True)
            ]
            return AttentionInputs(attn.to_v(conditions.image.mean), None, pairs)
        pairs = [
            (tokens.per_frame(to_k), tokens.per_frame(to_v))
            for tokens, to_k, to_v in zip(conditions.adapters, self.to_k_ip, self.to_v_ip, strict=True)
        ]
        return AttentionInputs(conditions.image.per_frame(attn.to_v), conditions.masks[positions], pairs)


class AttentionInputs(NamedTuple):
    """The inputs of an `attn2` as plain tensors. N is B*F in spatial layers and B in temporal ones.

    `image` (N, 1, C); `mask` (1, h*w, 1), the face mask, in spatial layers; K and V (N, T, C) for each adapter.
    """

    image: Tensor
    mask: Tensor | None
    adapters: list[tuple[Tensor, Tensor]]


def attend_to(attn: Attention, hidden: Tensor, given: AttentionInputs) -> Tensor:
    """Return the output of an `attn2` for `hidden`, in the same shape."""
    query = attn.to_q(hidden).view(len(given.image), -1, hidden.shape[-1])  # (N, positions, C)
    total = given.image
    for key, value in given.adapters:
        term = _attend(query, key, value, attn.heads)
        total = total + (term if given.mask is None else given.mask * term)
    result: Tensor = attn.to_out[0](total.view(hidden.shape))
    return result


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return the attention of `query` (B, N, C) to `key` and `value` (B, T, C) without materialising the weights."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class SelfAttention:
    """The processor of every `attn1` after its three projections have been fused; see `fuse_qkv`."""

    def __call__(self, attn: Attention, hidden_states: Tensor, **_unused: Any) -> Tensor:
        """Let the positions of each frame attend to each other. `hidden_states` (B*F, h*w, C) keeps its shape."""
        return _attend_along(attn, hidden_states[:, :, None])[:, :, 0]


class SpatialBlock(BasicTransformerBlock):
    """diffusers' spatial block as a function of tensors alone, so that `compute` can be compiled."""

    def forward(self, hidden_states: Tensor, **_unused: Any) -> Tensor:
        """Apply the block. `hidden_states` (B*F, h*w, C) keeps its shape."""
        hidden = hidden_states + self.attn1(self.norm1(hidden_states))  # computed once for both twins
        return self.compute(hidden, self.attn2.processor.gather(self.attn2, hidden.shape[1]))

    def compute(self, hidden: Tensor, given: AttentionInputs) -> Tensor:
        """Compute everything after self-attention."""
        hidden = hidden + attend_to(self.attn2, self.norm2(hidden), given)
        return hidden + self.ff(self.norm3(hidden))


class TemporalBlock(TemporalBasicTransformerBlock):
    """diffusers' temporal block without the two transpositions between frames and positions.

    Only its attention depends on the layout. `compute` can be compiled.
    """

    def forward(self, hidden_states: Tensor, num_frames: int, **_unused: Any) -> Tensor:
        """Apply the block. `hidden_states` (B*F, h*w, C) keeps its shape."""
        given = self.attn2.processor.gather(self.attn2, hidden_states.shape[1])
        return self.compute(hidden_states, given, num_frames)

    def compute(self, hidden: Tensor, given: AttentionInputs, num_frames: int) -> Tensor:
        """Compute the whole block."""
        hidden = hidden + self.ff_in(self.norm_in(hidden))
        frames = self.norm1(hidden).unflatten(0, (-1, num_frames))
        hidden = hidden + _attend_along(self.attn1, frames).flatten(0, 1)
        hidden = hidden + attend_to(self.attn2, self.norm2(hidden), given)
        return hidden + self.ff(self.norm3(hidden))


def fuse_qkv(attn: Attention) -> None:
    """Fuse query, key and value of a self-attention into one matrix product, which reads its input once.

    Rows are in the order (head, q | k | v, width of a head). This spaces the heads of neighbouring positions evenly,
    and attention along frames can read them in place.
    """
    three = (attn.to_q, attn.to_k, attn.to_v)
    weight = torch.stack([layer.weight.unflatten(0, (attn.heads, -1)) for layer in three], 1).flatten(0, 2)
    with torch.device("meta"):
        attn.to_qkv = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    attn.to_qkv.weight = nn.Parameter(weight, requires_grad=False)
    del attn.to_q, attn.to_k, attn.to_v
    attn.set_processor(SelfAttention())


def _attend_along(attn: Attention, hidden: Tensor) -> Tensor:
    """Let the T entries at each of P positions attend to each other. `hidden` (B, T, P, C) keeps its shape."""
    qkv = attn.to_qkv(hidden).unflatten(-1, (attn.heads, 3, -1)).flatten(2, 3)  # (B, T, P*heads, 3, d)
    places = qkv.transpose(1, 2).split(MAX_HEADS, 1)
    parts = [functional.scaled_dot_product_attention(*part.unbind(3)).transpose(1, 2) for part in places]
    together: Tensor = parts[0] if len(parts) == 1 else torch.cat(parts, 2)  # (B, T, P*heads, d)
    result: Tensor = attn.to_out[0](together.reshape(hidden.shape))
    return result


def share_between_twins(module: nn.Module) -> None:
    """Make `module` compute only once what the last two guidance branches have in common; see `Conditions.twins`.

    The first dimension of all its inputs and of its output is that of the branches.
    """

    def without_the_last(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not current().twins:
            return None
        return tuple(map(_first_two, inputs)), {name: _first_two(value) for name, value in named.items()}

    def with_the_last(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        return torch.cat((output, output[len(output) // 2 :])) if current().twins else None

    module.register_forward_pre_hook(without_the_last, with_kwargs=True)
    module.register_forward_hook(with_the_last)


def _first_two(value: Any) -> Any:
    """Return the first two of three branches."""
    return value[: len(value) // 3 * 2] if isinstance(value, Tensor) else value
