"""What to do when memory runs out: one retry, with less at once where that is possible, then words that help."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from dice_talk.diffusion.devices import best_device, free_unused

T = TypeVar("T")
logger = logging.getLogger(__name__)
_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Of CUDA and Apple's GPU, of the CPU, and of libraries that take their memory past torch."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; only CUDA and Python itself have an error class for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in _WORDS)


def retry_on_oom(work: Callable[[], T], shrink: Callable[[], None] = lambda: None) -> T:
    """`work()`; where memory runs out, once more after `shrink()`, with all memory that torch holds in reserve."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    logger.warning("Out of memory: trying once more")  # here the error holds nothing any longer
    shrink()
    free_unused(best_device())
    return work()


@dataclass
class BatchSize:
    """How many items go through a network at once in one render: `size`, or `smaller` once memory has run out."""

    size: int
    smaller: int = 1

    def run(self, work: Callable[[], T]) -> T:
        """`work()`, which reads `size`; once more with the smaller size when memory runs out."""
        return retry_on_oom(work, self._shrink)

    def _shrink(self) -> None:
        self.size = min(self.size, self.smaller)
