"""Where to compute, and in which precision."""

import os

import torch


def best_device() -> torch.device:
    """The fastest device there is: an NVIDIA card, Apple's GPU or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """Half precision on GPUs, as published; float32 on the CPU, where half is slower."""
    return torch.float32 if device.type == "cpu" else torch.float16


def name(device: torch.device) -> str:
    """For people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def memory_bytes(device: torch.device) -> int:
    """All of its memory, in use or not; what macOS lets its GPU have of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_unused(device: torch.device) -> None:
    """Gives back what torch holds of a GPU's memory for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
