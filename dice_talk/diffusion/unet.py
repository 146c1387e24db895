"""DICE-Talk's UNet: Stable Video Diffusion's, with pose features after `conv_in` and two adapters in every `attn2`.

diffusers' class does the rest. After loading the weights, some blocks are replaced by faster ones
(`optimise_for_inference`).
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from torch import Tensor, nn

from dice_talk.diffusion.attention import (
    AdapterAttention,
    Conditions,
    SpatialBlock,
    TemporalBlock,
    active,
    current,
    fuse_qkv,
    share_between_twins,
)

_kept: ContextVar[list[Tensor] | None] = ContextVar("kept", default=None)


class DiceTalkUNet(UNetSpatioTemporalConditionModel):
    """SVD's UNet with the published adapters. Its keys are those of `unet.pth`."""

    def install_adapters(self) -> "DiceTalkUNet":
        """Add the adapters to every `attn2` and the pose features to `conv_in`. Call once, before loading weights."""
        for name, module in self.named_modules():
            if name.endswith("attn2"):
                width = module.to_q.out_features
                temporal = "temporal_transformer_blocks" in name
                module.set_processor(AdapterAttention(module.to_k.in_features, width, temporal))
        self.conv_in.register_forward_hook(_add_pose)
        self.up_blocks[-1].resnets[-1].register_forward_pre_hook(self._keep_deep)
        return self

    def optimise_for_inference(self) -> "DiceTalkUNet":
        """Replace blocks by faster ones of equal output. Call once, after loading weights under published names."""
        for name, module in list(self.named_modules()):
            if name.endswith("attn1"):
                fuse_qkv(module)
            elif isinstance(module, BasicTransformerBlock):
                module.__class__ = SpatialBlock
            elif isinstance(module, TemporalBasicTransformerBlock) and module.is_res:
                module.__class__ = TemporalBlock
        first = self.down_blocks[0]
        share_between_twins(first.resnets[0])
        share_between_twins(first.attentions[0].transformer_blocks[0].attn1)
        return self

    def predict(self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions) -> Tensor:
        """Return the output (B, F, 4, h, w) for `latents` (B, F, 8, h, w), `timestep` () and `time_ids` (B, 3)."""
        placeholder = latents.new_zeros(len(latents), 1, 1)  # required by diffusers, but no processor reads it
        with active(conditions):
            output: Sequence[Tensor] = self(latents, timestep, placeholder, time_ids, return_dict=False)
        return output[0]

    def predict_with_features(
        self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions
    ) -> tuple[Tensor, Tensor]:
        """Return the output of `predict`, and the input of the last layer (B*F, C, h, w) for `predict_last_layer`."""
        kept: list[Tensor] = []
        token = _kept.set(kept)
        try:
            return self.predict(latents, timestep, time_ids, conditions), kept[0]
        finally:
            _kept.reset(token)

    def predict_last_layer(
        self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions, deep: Tensor
    ) -> Tensor:
        """Run only the first and the last layer, taking the output of the others (`deep`) from another step."""
        (batch, frames), last = latents.shape[:2], self.up_blocks[-1]
        times = self.time_embedding(self.time_proj(timestep.expand(batch)).to(latents))
        times = times + self.add_embedding(self.add_time_proj(time_ids.flatten()).view(batch, -1).to(latents))
        times = times.repeat_interleave(frames, 0)
        no_pictures = latents.new_zeros(batch, frames)  # diffusers' `image_only_indicator`
        placeholder = latents.new_zeros(batch * frames, 1, 1)
        with active(conditions):
            hidden = torch.cat((deep, self.conv_in(latents.flatten(0, 1))), 1)
            hidden = last.resnets[-1](hidden, times, no_pictures)
            hidden = last.attentions[-1](hidden, placeholder, no_pictures, return_dict=False)[0]
            output: Tensor = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return output.unflatten(0, (batch, frames))

    def _keep_deep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (kept := _kept.get()) is not None:
            kept.append(inputs[0][:, : -self.conv_in.out_channels].clone())


def build_unet(config: dict[str, Any]) -> DiceTalkUNet:
    """Build the UNet of a diffusers `config.json` with adapters, but without weights."""
    unet: DiceTalkUNet = DiceTalkUNet.from_config(config)
    return unet.install_adapters()


def _add_pose(_module: nn.Module, _inputs: Any, features: Tensor) -> Tensor:
    pose = current().pose
    return (features.unflatten(0, (-1, len(pose))) + pose).flatten(0, 1)  # one pose, or one per frame, in every branch
