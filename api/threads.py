"""Work that is finished even if the caller is cancelled meanwhile, and blocking work in async code."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")


async def wait_to_the_end(wait: Callable[[], Awaitable[object]]) -> asyncio.CancelledError | None:
    """Wait to the end, again after each cancellation. Returns the last cancellation."""
    cancelled = None
    while True:
        try:
            with anyio.CancelScope(shield=True):  # anyio repeats cancellations
                await wait()
            return cancelled
        except asyncio.CancelledError as error:
            cancelled = error


async def run_to_the_end(function: Callable[[], T]) -> T:
    """Run a function in a thread. If cancelled, wait for its end first: what is done next must come after it."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    if cancelled := await wait_to_the_end(lambda: asyncio.wait([running])):
        running.exception()  # the caller is no longer interested
        raise cancelled
    return running.result()


@asynccontextmanager
async def entered(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in threads."""
    value = await asyncio.to_thread(context.__enter__)
    try:
        yield value
    finally:
        await run_to_the_end(lambda: context.__exit__(None, None, None))
