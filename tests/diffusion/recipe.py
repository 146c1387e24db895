"""Random weights that the reference tensors were computed with, rebuilt from a case's sidecar (recipe "dice-v1")."""

import math
import re
from typing import Any

import torch
from torch import Tensor


def state_dict(weights: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that a sidecar describes, checked against the values recorded there."""
    state = {}
    for number, name in enumerate(sorted(weights["tensors"])):
        record = weights["tensors"][name]
        tensor = _scaled(name, _normal(record["shape"], weights["base_seed"] + number), weights["vec_center"])
        for pattern, gain in weights["gains"]:
            if re.search(pattern, name):
                tensor = tensor * gain
        assert abs(tensor.double().sum().item() - record["sum"]) <= 1e-5 * max(1.0, record["abs_sum"]), name
        state[name] = tensor
    return state


def _normal(shape: list[int], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def _scaled(name: str, tensor: Tensor, centre: float) -> Tensor:
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "mix_factor":
        return tensor
    if tensor.dim() >= 2:
        return tensor / math.sqrt(tensor.numel() / len(tensor))
    return centre + 0.1 * tensor if leaf == "weight" else 0.1 * tensor
