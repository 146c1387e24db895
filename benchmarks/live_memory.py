"""How much of a GPU's memory the published sizes need, counted where there is none: `python -m benchmarks.live_memory`.

Runs each stage on tensors that have a size but no numbers, and follows which of them live at a time. That is what the
GPU has to hold; what its libraries take on top (CUDA's context, workspaces, gaps between tensors) is not counted.
"""

import argparse
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.random_weights import WHISPER, published_networks
from dice_talk.diffusion.attention import Bank, face_mask_levels
from dice_talk.diffusion.condition import KEPT_AUDIO_FRAMES, Conditioning, time_ids
from dice_talk.diffusion.decode import CHUNK, TIGHT_CHUNK, decode
from dice_talk.diffusion.denoise import BRANCHES, VAE_STRIDE, WINDOW, Guidance
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.interpolate import resample
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.preprocess import HEARD_TOKENS
from dice_talk.diffusion.priors import PRIOR_WIDTH
from dice_talk.diffusion.repeat import Repeated
from dice_talk.diffusion.schedule import karras_schedule

BLOCK = 512
"""Bytes; torch's allocator gives out whole ones."""


class Live(TorchDispatchMode):
    """Follows the storages that operations make, until they are let go. `weights` are not counted."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in weights}
        self.now = self.peak = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # those that consist of others make tensors in between
            result = operation.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == "meta":
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = -(-storage.nbytes() // BLOCK) * BLOCK
            self.now += self._sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def never_materialised(query: Tensor, key: Tensor, value: Tensor, *_rest: Any, **_named: Any) -> Tensor:
    """Allocate what CUDA's attention kernels do: the result, heads innermost, and one float32 per query."""
    sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
    batch, heads, length, width = query.shape
    result = query.new_empty(batch, length, heads, width).transpose(1, 2)
    del sums
    return result


@contextmanager
def counted(weights: Iterable[Tensor]) -> Iterator[Live]:
    """Count the tensors that are made within the block."""
    with (
        mock.patch.object(functional, "scaled_dot_product_attention", never_materialised),
        torch.inference_mode(),
        Live(weights) as live,
    ):
        yield live


class Unchecked(Repeated):
    """Takes what is decoded as it is: tensors without numbers can't be looked at."""

    def images(self, decode: Callable[[], Tensor], precise: Callable[[], Tensor]) -> Tensor:
        return decode()


def stages(nets: dict[str, Any], dtype: torch.dtype, height: int, width: int) -> dict[str, Callable[[], object]]:
    """Return the stages of a render in order. The smaller portions are for when memory runs out."""

    def zeros(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.zeros(shape, device="meta", dtype=dtype)

    rows, columns = height // VAE_STRIDE, width // VAE_STRIDE
    heard = HEARD_TOKENS * (WHISPER["encoder_layers"] + 1) * WHISPER["d_model"]

    def condition() -> Conditioning:
        heard_rows = (zeros(rows, heard, dtype=torch.float32) for rows in (1, KEPT_AUDIO_FRAMES))
        tokens = Bank(torch.cat([nets["audio_linear"](rows).to(dtype) for rows in heard_rows]), True)
        return Conditioning(
            frames=KEPT_AUDIO_FRAMES,
            reference=nets["vae"].encode(zeros(1, 3, height, width, dtype=torch.float32)).latent_dist.mode(),
            image=Bank(nets["image_encoder"](zeros(2, 3, 224, 224)).image_embeds[:, None], cache=True),
            emotion=Bank(nets["emo_model"](zeros(2, PRIOR_WIDTH, dtype=torch.float32)).to(dtype), cache=True),
            audio=lambda frames: (tokens, torch.zeros_like(frames, device="meta")),
            pose=nets["pose_guider"](zeros(1, 3, height, width)),
            masks=face_mask_levels(zeros(1, 1, height, width), rows, columns),
            time_ids=time_ids(1.0, torch.device("meta")),
        )

    def denoise(branches: int) -> None:
        predict = GuidedPredictor(nets["unet"], condition(), Guidance(1, 1), karras_schedule(2), BatchSize(branches))
        for _ in range(2):  # the second with K and V that the first has kept
            predict(zeros(1, WINDOW, 4, rows, columns, dtype=torch.float32), 0, torch.arange(WINDOW))

    def finish(chunk: int) -> None:
        latents, unchecked = torch.zeros(1, chunk, 4, rows, columns), Unchecked(dtype)
        frames = decode(nets["vae"], latents, chunk, BatchSize(chunk), unchecked)
        for _ in resample(nets["ifnet"], frames, 60, 60 * chunk // 12):
            pass

    return {
        "listen": lambda: nets["whisper"](zeros(1, 80, 3000, dtype=torch.float32), output_hidden_states=True),
        "condition": condition,
        "denoise": partial(denoise, BRANCHES),
        "denoise, a branch at a time": partial(denoise, 1),
        "decode and interpolate": partial(finish, CHUNK),
        f"the same, {TIGHT_CHUNK} frames at a time": partial(finish, TIGHT_CHUNK),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    with torch.device("meta"):
        nets = {name: net.to("meta") for name, net in published_networks(dtype).items()}
    nets["unet"].optimise_for_inference()
    weights = [tensor for net in nets.values() for tensor in net.state_dict().values()]
    held = sum(tensor.nbytes for tensor in weights)
    print(f"weights in {arguments.dtype}: {held / 2**30:.2f} GiB")
    for side in arguments.resolutions:
        print(f"{side} px, with the weights:")
        for stage, run in stages(nets, dtype, side, side).items():
            with counted(weights) as live:
                run()
            print(f"  {stage:40} {(held + live.peak) / 2**30:6.2f} GiB")


if __name__ == "__main__":
    main()
