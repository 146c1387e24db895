"""Time, rate and memory by the device's own count, where it keeps one."""

import gc
import resource
import time
from collections.abc import Callable

import torch

from dice_talk.diffusion.devices import free_unused


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return how long `work` takes; on a GPU, between two events on torch's current stream."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of large matrix products in TFLOP per second."""
    side, rounds = (8192, 20) if device.type == "cuda" else (1024, 5)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    return 2 * side**3 * rounds / seconds_of(lambda: [torch.mm(a, b) for _ in range(rounds)], device) / 1e12


def begin_peak(device: torch.device) -> None:
    """Free unused memory, and reset the peak on devices that can."""
    gc.collect()  # a UNet's hooks refer to it
    free_unused(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: torch.device) -> float:
    """Return the most that torch has taken from the GPU since `begin_peak`; elsewhere, since the process started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
