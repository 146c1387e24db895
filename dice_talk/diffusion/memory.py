"""What to do when memory runs out: one retry with less at once, then words that help."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")
logger = logging.getLogger(__name__)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; only CUDA has an error class for it."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


@dataclass
class Portion:
    """How many items go through a network at once in one render: `size`, or `smaller` once memory has run out."""

    size: int
    smaller: int = 1

    def run(self, work: Callable[[], T]) -> T:
        """`work()`, which reads `size`; once more with the smaller size when memory runs out."""
        try:
            return work()
        except RuntimeError as error:
            if self.size <= self.smaller or not is_out_of_memory(error):
                raise
        logger.warning("Out of memory with %d at once: going on with %d", self.size, self.smaller)
        self.size = self.smaller
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return work()
