"""Work that goes on in a thread of its own while its caller makes more of it."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
WAITING = 4
"""Items at most: memory does not grow, and neither side waits for the other at every item."""


class Background(Generic[T]):
    """Calls `work` on one item after the other, in order. A context manager: at its end all is done.

    After `work` has raised something, nothing more is worked on, and one of the next calls, or the end, raises it. When
    the block itself ends with an exception, what waits is not done any more.
    """

    def __init__(self, work: Callable[[T], object]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[object]] = deque()
        self._failed = False

    def __call__(self, item: T) -> None:
        """Hands an item over; waits while too many wait already."""
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
