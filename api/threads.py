"""Blocking work in async code. What was begun is finished, even if the caller is cancelled meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


async def run_to_the_end(function: Callable[[], T]) -> T:
    """Run a function in a thread. If cancelled, wait for its end first: what is done next must come after it."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


@asynccontextmanager
async def entered(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in threads."""
    value = await asyncio.to_thread(context.__enter__)
    try:
        yield value
    finally:
        await run_to_the_end(lambda: context.__exit__(None, None, None))
