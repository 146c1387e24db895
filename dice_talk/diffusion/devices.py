"""Chooses the device to compute on, and the precision."""

import os

import torch

from dice_talk.device import nvidia_available
from dice_talk.engine import Precision

DTYPES = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16, Precision.FP32: torch.float32}


def best_device() -> torch.device:
    """Return the fastest device: an NVIDIA card, Apple's GPU or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def refused_nvidia() -> str | None:
    """Say why torch can't use an NVIDIA card that the driver finds, and what to do; None if all is well."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if hidden or torch.cuda.is_available() or not nvidia_available():
        return None
    try:
        torch.cuda.init()
        reason = "torch finds none"
    except (RuntimeError, AssertionError) as error:  # too old a driver; a torch without CUDA
        reason = str(error).partition(". ")[0].partition("\n")[0]
    built_for = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return (
        f"torch {torch.__version__}, built {built_for}, can't use this machine's NVIDIA card: {reason}. "
        "Update NVIDIA's driver, or install a torch that fits it (https://pytorch.org/get-started)"
    )


def precision(device: torch.device, wanted: Precision = Precision.AUTO) -> torch.dtype:
    """Return the precision to compute in.

    Auto is half precision on NVIDIA's cards, as published. It is float32 on the CPU, where half precision is slower,
    and on the GPUs of Apple and AMD, where it is known to give black frames.
    """
    if wanted is Precision.AUTO:
        nvidia = device.type == "cuda" and torch.version.hip is None
        wanted = Precision.FP16 if nvidia else Precision.FP32
    return DTYPES[wanted]


def name(device: torch.device) -> str:
    """Return a name for people to read."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def memory_bytes(device: torch.device) -> int:
    """Return all of the device's memory, in use or not. On macOS, returns the share that a GPU may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_unused(device: torch.device) -> None:
    """Release GPU memory that torch keeps for later use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
