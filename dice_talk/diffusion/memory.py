"""What to do when memory runs out: one retry with less at once, then words that help."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")
BRANCHES = 3
"""Guidance branches; see `condition`."""
CHUNK = 10
"""Frames decoded together. The temporal decoder's result depends on it: this is the published number."""
_TIGHT_CHUNK = 4
logger = logging.getLogger(__name__)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; only CUDA has an error class for it."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


@dataclass
class Budget:
    """What goes through the networks at once in one render; shrinks, once, when memory runs out.

    One guidance branch at a time gives the same video up to rounding; smaller decoder chunks change it slightly.
    """

    branches: int = BRANCHES
    frames: int = CHUNK
    tight: bool = False

    def run(self, work: Callable[[], T]) -> T:
        """`work()`, and once more with a smaller budget when memory runs out."""
        try:
            return work()
        except RuntimeError as error:
            if self.tight or not is_out_of_memory(error):
                raise
        logger.warning("Out of memory: going on with one guidance branch and %d frames at a time", _TIGHT_CHUNK)
        self.branches, self.frames, self.tight = 1, _TIGHT_CHUNK, True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return work()
