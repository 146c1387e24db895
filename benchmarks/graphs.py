"""The UNet recorded as CUDA graphs: one call launches all kernels of a forward pass, which are some 3 000."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dice_talk.diffusion.attention import Bank, Conditions, Tokens
from dice_talk.diffusion.unet import DiceTalkUNet

Tensors = tuple[Tensor, ...]
Record = Callable[[Callable[[], Tensors]], tuple[Callable[[], object], Tensors]]
"""Given a function of no arguments: what plays it again, and the tensors that its results are in each time."""


class _Recording(NamedTuple):
    given: Tensors
    play: Callable[[], object]
    made: Tensors


def record_cuda_graph(run: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
    """Its kernels run from then on with the addresses they were recorded with."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose their kernels and take their workspaces before recording
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = run()
    return graph.replay, made


def record_by_hand(run: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
    """The same where there is no CUDA: runs it again, into the same tensors."""
    made = run()

    def play() -> None:
        for tensor, again in zip(made, run(), strict=True):
            tensor.copy_(again)

    return play, made


class RecordedUNet:
    """Stands in for a UNet in `Guided`. One recording for each kind of pass and size, whatever the video's length."""

    def __init__(self, unet: DiceTalkUNet, record: Record = record_cuda_graph) -> None:
        self._unet, self._record, self.dtype = unet, record, unet.dtype
        self.recordings: dict[tuple[object, ...], _Recording] = {}

    def predict(self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions) -> Tensor:
        def run(given: Tensors, conditions: Conditions) -> Tensors:
            return (self._unet.predict(*given, conditions),)

        return self._play("whole", run, (latents, timestep, time_ids), conditions)[0]

    def predict_and_keep(
        self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions
    ) -> tuple[Tensor, Tensor]:
        def run(given: Tensors, conditions: Conditions) -> Tensors:
            return self._unet.predict_and_keep(*given, conditions)

        output, deep = self._play("kept", run, (latents, timestep, time_ids), conditions)
        return output, deep

    def predict_last(
        self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions, deep: Tensor
    ) -> Tensor:
        def run(given: Tensors, conditions: Conditions) -> Tensors:
            *before, deep = given
            return (self._unet.predict_last(*before, conditions, deep),)

        return self._play("last", run, (latents, timestep, time_ids, deep), conditions)[0]

    def _play(
        self, kind: str, run: Callable[[Tensors, Conditions], Tensors], given: Tensors, conditions: Conditions
    ) -> Tensors:
        parts = (*given, *_tensors_of(conditions))
        key = kind, conditions.twins, *(part.shape for part in parts)
        if key not in self.recordings:
            still = tuple(part.clone() for part in parts)

            def again() -> Tensors:
                """With conditions made anew, which have kept nothing of the last pass."""
                return run(still[: len(given)], _conditions_of(still[len(given) :], conditions))

            self.recordings[key] = _Recording(still, *self._record(again))
        recording = self.recordings[key]
        for held_part, part in zip(recording.given, parts, strict=True):
            held_part.copy_(part)
        recording.play()
        return tuple(made.clone() for made in recording.made)


def _tensors_of(conditions: Conditions) -> Tensors:
    """With a row of tokens for every frame: how many rows a bank has differs between windows."""
    sources = conditions.image, *conditions.adapters
    rows = (source.bank.rows[source.index].flatten(0, 1) for source in sources)
    return (*rows, conditions.pose, *conditions.masks.values())


def _conditions_of(tensors: Tensors, like: Conditions) -> Conditions:
    image, audio, emotion, pose, *masks = tensors
    index = torch.arange(like.image.index.numel(), device=pose.device).view(like.image.index.shape)
    audio_tokens, emotion_tokens = (Tokens(Bank(rows), index) for rows in (audio, emotion))
    levels = dict(zip(like.masks, masks, strict=True))
    return Conditions(Tokens(Bank(image), index), (audio_tokens, emotion_tokens), pose, levels, like.twins)
