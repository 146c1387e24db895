"""Runs work in a background thread while the caller produces more of it."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
WAITING = 4
"""Items that may wait. Limits memory, and still lets neither side wait for the other at every item."""


class Background(Generic[T]):
    """Calls `work` on one item after another, in order. A context manager: all items are done when the block ends.

    Once `work` has raised, no more items are processed, and one of the next calls or the end of the block raises the
    error. If the block itself raises, waiting items are dropped.
    """

    def __init__(self, work: Callable[[T], object]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[object]] = deque()
        self._failed = False

    def __call__(self, item: T) -> None:
        """Hand over an item. Blocks while the queue is full."""
        if len(self._waiting) == WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._do, item))

    def _do(self, item: T) -> None:
        if self._failed:
            return
        try:
            self._work(item)
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> "Background[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for future in self._waiting:
                    future.result()
        finally:
            self._pool.shutdown(cancel_futures=True)
