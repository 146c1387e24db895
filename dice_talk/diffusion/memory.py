"""Handles running out of memory: retries once, with a smaller batch if possible, and then explains the error."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from dice_talk.diffusion.devices import best_device, free_unused

T = TypeVar("T")
logger = logging.getLogger(__name__)
_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Parts of the messages of CUDA, Apple's GPU, the CPU, and libraries that allocate memory without torch."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out. Only CUDA and Python itself have an error class for this."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in _WORDS)


def retry_on_oom(work: Callable[[], T], shrink: Callable[[], None] = lambda: None) -> T:
    """Call `work()`. If memory runs out, call `shrink()`, free torch's cache and call `work()` once more."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    logger.warning("Out of memory: retrying once")  # outside the handler, the error no longer holds any tensors
    shrink()
    free_unused(best_device())
    return work()


@dataclass
class BatchSize:
    """Number of items that go through a network at once: `size`, or `smaller` after memory has run out."""

    size: int
    smaller: int = 1

    def run(self, work: Callable[[], T]) -> T:
        """Call `work()`, which reads `size`. Retries with the smaller size if memory runs out."""
        return retry_on_oom(work, self._shrink)

    def _shrink(self) -> None:
        self.size = min(self.size, self.smaller)
