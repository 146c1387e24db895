"""The UNet recorded as CUDA graphs: one call launches all kernels of a forward pass, which are some 3 000.

What is recorded has one shape for all windows, so every frame of every branch has tokens of its own, and their K and V
are made in each pass: about 1 % more work at 256 px than without.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from dice_talk.diffusion.attention import Bank, Conditions, Tokens
from dice_talk.diffusion.unet import DiceTalkUNet

Tensors = tuple[Tensor, ...]
Record = Callable[[Callable[[], Tensors]], tuple[Callable[[], object], Tensors]]
"""Given a function of no arguments: what plays it again, and the tensors that its results are in each time."""


class _Recording(NamedTuple):
    inputs: Tensors
    play: Callable[[], object]
    outputs: Tensors


class CudaRecorder:
    """Records what runs on the GPU. Kernels run from then on with the addresses that they were recorded with.

    All recordings share their memory: they play one after the other, and nobody keeps their outputs.
    """

    def __init__(self) -> None:
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(3):  # libraries choose their kernels and take their workspaces before recording
                run()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, pool=self._pool):
            outputs = run()
        return graph.replay, outputs


def record_operations(run: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
    """Record torch's operations, to run them again without the Python in between. Replaces CUDA graphs without CUDA."""
    run()
    operations = make_fx(run)()
    outputs = operations()

    def play() -> None:
        for output, made in zip(outputs, operations(), strict=True):
            output.copy_(made)

    return play, outputs


class RecordedUNet:
    """Stands in for a UNet in `GuidedPredictor`. Has one recording for each kind of pass and size, at any length."""

    def __init__(self, unet: DiceTalkUNet, record: Record) -> None:
        self._unet, self._record, self.dtype = unet, record, unet.dtype
        self.recordings: dict[tuple[object, ...], _Recording] = {}

    def predict(self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions) -> Tensor:
        def run(given: Tensors, conditions: Conditions) -> Tensors:
            latents, timestep, time_ids = given
            return (self._unet.predict(latents, timestep, time_ids, conditions),)

        return self._play("whole", run, (latents, timestep, time_ids), conditions)[0]

    def predict_with_features(
        self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions
    ) -> tuple[Tensor, Tensor]:
        def run(given: Tensors, conditions: Conditions) -> Tensors:
            latents, timestep, time_ids = given
            return self._unet.predict_with_features(latents, timestep, time_ids, conditions)

        output, deep = self._play("kept", run, (latents, timestep, time_ids), conditions)
        return output, deep

    def predict_last_layer(
        self, latents: Tensor, timestep: Tensor, time_ids: Tensor, conditions: Conditions, deep: Tensor
    ) -> Tensor:
        def run(given: Tensors, conditions: Conditions) -> Tensors:
            latents, timestep, time_ids, deep = given
            return (self._unet.predict_last_layer(latents, timestep, time_ids, conditions, deep),)

        return self._play("last", run, (latents, timestep, time_ids, deep), conditions)[0]

    def _play(
        self, kind: str, run: Callable[[Tensors, Conditions], Tensors], given: Tensors, conditions: Conditions
    ) -> Tensors:
        inputs = (*given, *_tensors_of(conditions))
        key = kind, conditions.twins, *(tensor.shape for tensor in inputs)
        if key not in self.recordings:
            still = tuple(tensor.clone() for tensor in inputs)

            def again() -> Tensors:
                """Run with new conditions, which have cached nothing of the last pass."""
                return run(still[: len(given)], _conditions_of(still[len(given) :], conditions))

            self.recordings[key] = _Recording(still, *self._record(again))
        recording = self.recordings[key]
        for recorded, tensor in zip(recording.inputs, inputs, strict=True):
            recorded.copy_(tensor)
        recording.play()
        return tuple(output.clone() for output in recording.outputs)


def _tensors_of(conditions: Conditions) -> Tensors:
    """Return the tensors of conditions, with tokens for every frame: the rows of a bank differ between windows."""
    sources = conditions.image, *conditions.adapters
    rows = (source.bank.rows[source.index].flatten(0, 1) for source in sources)
    return (*rows, conditions.pose, *conditions.masks.values())


def _conditions_of(tensors: Tensors, like: Conditions) -> Conditions:
    image, audio, emotion, pose, *masks = tensors
    index = torch.arange(like.image.index.numel(), device=pose.device).view(like.image.index.shape)
    audio_tokens, emotion_tokens = (Tokens(Bank(rows), index) for rows in (audio, emotion))
    levels = dict(zip(like.masks, masks, strict=True))
    return Conditions(Tokens(Bank(image), index), (audio_tokens, emotion_tokens), pose, levels, like.twins)
