"""Child processes start and end whole, whatever is cancelled meanwhile."""

import asyncio
import gc
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE

import psutil
import pytest

from api import processes
from tests.waiting import gone


def test_a_process_with_pipes_in_a_session_of_its_own() -> None:
    async def scenario() -> None:
        process = await processes.start(["sh", "-c", "read line; echo $line; echo no >&2; exit 3"], stdin=PIPE)
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        out, err = await process.communicate(b"yes\n")
        assert (out, err, process.returncode) == (b"yes\n", b"no\n", 3)
        await processes.end(process)  # which is nothing to do

    asyncio.run(scenario())


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(processes.start(["/no/such/program"], stdin=DEVNULL))
    asyncio.run(processes.wait_for_starts())


def test_the_end_takes_what_it_has_started_along() -> None:
    async def scenario() -> None:
        process = await processes.start(["sh", "-c", "sleep 600 & echo $!; wait"], stdin=DEVNULL)
        assert process.stdout
        grandchild = int(await process.stdout.readline())
        assert not gone(grandchild)
        await processes.end(process)
        assert process.returncode == -signal.SIGKILL
        async with asyncio.timeout(10):
            while not gone(grandchild):
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


@pytest.mark.parametrize("steps", range(6))
def test_a_start_that_is_cancelled_leaves_nothing(steps: int) -> None:
    async def scenario() -> None:
        starting = asyncio.create_task(processes.start(["sleep", "600"], stdin=DEVNULL))
        for _ in range(steps):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        await processes.wait_for_starts()

    asyncio.run(scenario())
    assert not [child for child in psutil.Process().children() if child.name() == "sleep" and not gone(child.pid)]
    gc.collect()  # what was left would warn now, which is an error in tests


def test_an_end_that_is_cancelled_is_the_end_all_the_same() -> None:
    async def scenario() -> None:
        process = await processes.start(["sleep", "600"], stdin=DEVNULL)
        ending = asyncio.create_task(processes.end(process))
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert process.returncode == -signal.SIGKILL

    asyncio.run(scenario())
    gc.collect()


def test_what_is_still_starting_is_waited_for() -> None:
    async def scenario() -> None:
        starting = [asyncio.create_task(processes.start(["true"], stdin=DEVNULL)) for _ in range(3)]
        await asyncio.sleep(0)
        await processes.wait_for_starts()
        assert not processes._starting
        for one in starting:
            await (await one).wait()

    asyncio.run(scenario())
