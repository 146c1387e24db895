"""Chooses the device to compute on, and the precision."""

import os

import torch


def best_device() -> torch.device:
    """Return the fastest device: an NVIDIA card, Apple's GPU or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """Return half precision for GPUs, as published, and float32 for the CPU, where half precision is slower."""
    return torch.float32 if device.type == "cpu" else torch.float16


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
