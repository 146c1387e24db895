"""The ways to denoise that `benchmarks.diffusion` compares."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast
from unittest.mock import patch

from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.graphs import CudaRecorder, Record, RecordedUNet
from benchmarks.plain import plain_attention, plain_denoise
from dice_talk.diffusion.attention import AdapterAttention
from dice_talk.diffusion.compiled import compile_blocks, use_channels_last
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.denoise import BRANCHES, Guidance, Windows, denoise
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.reuse import REUSE
from dice_talk.diffusion.schedule import Schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.options import Quality

GUIDANCE = Guidance(3.0, 6.0)
Predictor = DiceTalkUNet | RecordedUNet


@dataclass(frozen=True)
class Form:
    """One way to denoise.

    `plain`: as published. `compiled`: `torch.compile`'s mode. `graph`: recorded as CUDA graphs. `attention`: PyTorch's
    kernel, instead of the one that it chooses. `batch`: guidance branches in one pass. `asked`: left out unless it is
    asked for by name.
    """

    name: str
    quality: Quality = Quality.EXACT
    plain: bool = False
    channels_last: bool = False
    compiled: str = ""
    graph: bool = False
    attention: SDPBackend | None = None
    batch: int = BRANCHES
    asked: bool = False

    @property
    def needs_cuda(self) -> bool:
        """Whether the form is for GPUs only. Compiling also works on a CPU, but takes minutes and gains nothing."""
        return self.graph or self.attention is not None or bool(self.compiled)

    def prepare(self, unet: DiceTalkUNet, record: Record | None = None) -> Predictor:
        """Return the predictor that `sample` needs. `unet` has diffusers' own blocks, and is changed."""
        if self.plain:
            return unet
        unet.optimise_for_inference()
        if self.channels_last:
            use_channels_last(unet)
        if self.compiled:
            compile_blocks(unet, mode=self.compiled)
        return RecordedUNet(unet, record or CudaRecorder()) if self.graph else unet

    def sample(self, prepared: Predictor, task: Conditioning, schedule: Schedule, latents: Tensor) -> Tensor:
        """Denoise latents (1, T, 4, h, w) from the first step to the last. The given ones are overwritten."""
        unet = cast(DiceTalkUNet, prepared)  # a recorded one stands in for it
        if self.plain:
            with published_attention():
                return plain_denoise(unet, task, GUIDANCE, schedule, latents)
        reuse = REUSE[self.quality]
        predict = GuidedPredictor(unet, task, GUIDANCE, schedule, BatchSize(self.batch), reuse)
        with nullcontext() if self.attention is None else sdpa_kernel(self.attention):
            return denoise(predict, latents.cpu(), schedule, Windows(steps=reuse.steps), lambda *_: None)


_COMPILED: dict[str, Any] = {"channels_last": True, "compiled": "default"}
FLOAT32 = Form("float32", batch=1)
"""What errors are measured against, with a UNet in float32."""
FORMS = (
    Form("plain", plain=True),
    Form("exact"),
    Form("exact, compiled", **_COMPILED),
    Form("balanced", Quality.BALANCED),
    Form("fast", Quality.FAST),
    Form("balanced, compiled", Quality.BALANCED, **_COMPILED),
    Form("fast, compiled", Quality.FAST, **_COMPILED),
    Form("exact, channels last", channels_last=True),
    Form("exact, flash attention", attention=SDPBackend.FLASH_ATTENTION),
    Form("exact, cuDNN attention", attention=SDPBackend.CUDNN_ATTENTION),
    Form("exact, graph", graph=True),
    Form("exact, compiled, graph", graph=True, **_COMPILED),
    Form("fast, compiled, graph", Quality.FAST, graph=True, **_COMPILED),
    Form("exact, autotuned", channels_last=True, compiled="max-autotune-no-cudagraphs", asked=True),
)
"""Those that are most likely to fail come last."""


def published_attention() -> AbstractContextManager[object]:
    """Use the published attention of the adapters, without savings, within the block."""
    return patch.object(AdapterAttention, "forward", plain_attention(functional.scaled_dot_product_attention))
