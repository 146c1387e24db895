"""Where to compute, and in which precision."""

import torch


def best_device() -> torch.device:
    """The fastest device there is: an NVIDIA card, Apple's GPU or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """Half precision on GPUs, as published; float32 on the CPU, where half is slower."""
    return torch.float32 if device.type == "cpu" else torch.float16
