"""The ways to denoise that `benchmarks.diffusion` compares."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.graphs import Record, RecordedUNet, record_cuda_graph
from benchmarks.plain import plain_attention, plain_denoise
from dice_talk.diffusion.attention import AdapterAttention
from dice_talk.diffusion.compiled import compile_blocks, lay_out_for_tensor_cores
from dice_talk.diffusion.condition import Task
from dice_talk.diffusion.denoise import BRANCHES, Guidance, Windows, denoise
from dice_talk.diffusion.guide import Guided
from dice_talk.diffusion.memory import Portion
from dice_talk.diffusion.reuse import REUSE
from dice_talk.diffusion.schedule import Schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.options import Quality

GUIDANCE = Guidance(3.0, 6.0)
Sampler = Callable[[Task, Schedule, Tensor], Tensor]
"""A task, the steps, and latents (1, T, 4, h, w) to begin with, which are overwritten; to the latents at the end."""


@dataclass(frozen=True)
class Form:
    """One way to denoise.

    `plain`: as published. `compiled`: `torch.compile`'s mode. `graph`: recorded as CUDA graphs. `attention`: PyTorch's
    kernel, instead of the one that it chooses. `asked`: left out unless it is asked for by name.
    """

    name: str
    quality: Quality = Quality.EXACT
    plain: bool = False
    channels_last: bool = False
    compiled: str = ""
    graph: bool = False
    attention: SDPBackend | None = None
    asked: bool = False

    @property
    def needs_gpu(self) -> bool:
        return self.graph or self.attention not in (None, SDPBackend.FLASH_ATTENTION)

    def sampler(self, unet: DiceTalkUNet, record: Record = record_cuda_graph) -> Sampler:
        """`unet` has diffusers' own blocks and is left as it is."""
        unet = copy.deepcopy(unet)
        if self.plain:
            return lambda task, schedule, latents: _as_published(unet, task, schedule, latents)
        unet.streamline()
        if self.channels_last:
            lay_out_for_tensor_cores(unet)
        if self.compiled:
            compile_blocks(unet, mode=self.compiled)
        predictor = RecordedUNet(unet, record) if self.graph else unet

        def sample(task: Task, schedule: Schedule, latents: Tensor) -> Tensor:
            reuse = REUSE[self.quality]
            predict = Guided(predictor, task, GUIDANCE, schedule, Portion(BRANCHES), reuse)
            with sdpa_kernel(self.attention) if self.attention else nullcontext():
                return denoise(predict, latents.cpu(), schedule, Windows(steps=reuse.steps), lambda *_: None)

        return sample


_COMPILED = {"channels_last": True, "compiled": "default"}
FLOAT32 = Form("float32")
"""What errors are measured against, with a UNet in float32."""
FORMS = (
    Form("plain", plain=True),
    Form("exact"),
    Form("exact, channels last", channels_last=True),
    Form("exact, flash attention", attention=SDPBackend.FLASH_ATTENTION),
    Form("exact, cuDNN attention", attention=SDPBackend.CUDNN_ATTENTION),
    Form("exact, graph", graph=True),
    Form("exact, compiled", **_COMPILED),
    Form("exact, compiled, graph", graph=True, **_COMPILED),
    Form("exact, autotuned", channels_last=True, compiled="max-autotune-no-cudagraphs", asked=True),
    Form("balanced", Quality.BALANCED),
    Form("fast", Quality.FAST),
    Form("balanced, compiled", Quality.BALANCED, **_COMPILED),
    Form("fast, compiled", Quality.FAST, **_COMPILED),
    Form("fast, compiled, graph", Quality.FAST, graph=True, **_COMPILED),
)


@contextmanager
def published_attention() -> Iterator[None]:
    forward = AdapterAttention.forward
    AdapterAttention.forward = plain_attention(functional.scaled_dot_product_attention)
    try:
        yield
    finally:
        AdapterAttention.forward = forward


def _as_published(unet: DiceTalkUNet, task: Task, schedule: Schedule, latents: Tensor) -> Tensor:
    with published_attention():
        return plain_denoise(unet, task, GUIDANCE, schedule, latents)
