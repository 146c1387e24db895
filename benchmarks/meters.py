"""Time, rate and memory by the device's own count, where it keeps one."""

import gc
import resource
import time
from collections.abc import Callable

import torch

from dice_talk.diffusion.devices import free_unused


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes; on a GPU, between two events on torch's current stream."""
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
    """The rate that large matrix products reach here, in TFLOP per second."""
    side, rounds = (8192, 20) if device.type == "cuda" else (1024, 5)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    return 2 * side**3 * rounds / seconds_of(lambda: [torch.mm(a, b) for _ in range(rounds)], device) / 1e12


def begin_peak(device: torch.device) -> None:
    """Let go what nobody uses, and forget the peak so far where that can be done."""
    gc.collect()  # a UNet's hooks refer to it
    free_unused(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: torch.device) -> float:
    """All that torch took from the GPU at a time since `begin_peak`; of the process's whole life elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
