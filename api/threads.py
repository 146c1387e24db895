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
    """Enter and leave a context in threads, each to the end. The context learns of the exception that it ends with."""
    entering = asyncio.ensure_future(asyncio.to_thread(context.__enter__))
    if cancelled := await wait_to_the_end(lambda: asyncio.wait([entering])):
        if entering.exception() is None:
            await _leave(context, cancelled)
        raise cancelled
    value = entering.result()
    try:
        yield value
    except BaseException as error:
        if not await _leave(context, error):
            raise
    else:
        await run_to_the_end(lambda: context.__exit__(None, None, None))


async def _leave(context: AbstractContextManager[T], error: BaseException) -> bool:
    return bool(await run_to_the_end(lambda: context.__exit__(type(error), error, error.__traceback__)))
