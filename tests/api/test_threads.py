"""Blocking work in async code: it is finished, whatever becomes of the caller."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from api.threads import entered, run_to_the_end


def test_what_a_function_returns_or_raises() -> None:
    assert asyncio.run(run_to_the_end(lambda: 5)) == 5
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_to_the_end(lambda: 1 / 0))


def test_a_cancelled_caller_waits_for_the_end() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        may_end.wait(20)
        ended.append(True)

    async def scenario() -> None:
        task = asyncio.create_task(run_to_the_end(work))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    asyncio.run(scenario())


def test_also_within_a_scope_that_is_cancelled() -> None:
    """anyio repeats a cancellation until its scope is left."""
    done = []

    def work() -> None:
        time.sleep(0.05)
        done.append(True)

    async def scenario() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await asyncio.sleep(600)
            finally:
                await run_to_the_end(work)
        assert done == [True]

    asyncio.run(scenario())


@contextmanager
def noted(notes: list[tuple[str, bool]]) -> Iterator[int]:
    main = threading.main_thread()
    notes.append(("entered", threading.current_thread() is main))
    try:
        yield 5
    finally:
        notes.append(("left", threading.current_thread() is main))


ALL = [("entered", False), ("left", False)]


def test_a_context_is_entered_and_left_in_threads() -> None:
    notes: list[tuple[str, bool]] = []

    async def use() -> int:
        async with entered(noted(notes)) as value:
            return value

    assert asyncio.run(use()) == 5
    assert notes == ALL


def test_a_context_is_left_after_an_error() -> None:
    notes: list[tuple[str, bool]] = []

    async def use() -> None:
        async with entered(noted(notes)):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(use())
    assert notes == ALL


def test_a_context_learns_how_it_ends() -> None:
    seen: list[BaseException] = []

    @contextmanager
    def curious() -> Iterator[None]:
        try:
            yield
        except ZeroDivisionError as error:
            seen.append(error)

    async def use() -> None:
        async with entered(curious()):
            raise ZeroDivisionError

    asyncio.run(use())
    assert len(seen) == 1, "and may be content with it"


def test_a_caller_that_is_cancelled_while_it_enters_leaves_again() -> None:
    notes: list[tuple[str, bool]] = []
    may_enter = threading.Event()

    @contextmanager
    def slow() -> Iterator[int]:
        may_enter.wait(20)
        with noted(notes) as value:
            yield value

    async def use() -> None:
        async with entered(slow()):
            raise AssertionError("it was cancelled before")

    async def scenario() -> None:
        task = asyncio.create_task(use())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        may_enter.set()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(scenario())
    assert notes == ALL


def test_a_context_is_left_when_the_caller_is_cancelled() -> None:
    notes: list[tuple[str, bool]] = []

    async def use() -> None:
        async with entered(noted(notes)):
            await asyncio.sleep(600)

    async def scenario() -> None:
        task = asyncio.create_task(use())
        while not notes:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(scenario())
    assert notes == ALL
