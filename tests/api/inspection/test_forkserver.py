"""The process that forks children: started when needed, and again when it has died."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from api import processes
from api.inspection.children import FORKS
from api.inspection.forkserver import Facts, ForkServer, _read
from dice_talk.child import End

pytestmark = pytest.mark.skipif(not FORKS, reason="nothing is forked on this system")
INTAKE = "dice_talk.intake"
FOUND = {"width": 360, "height": 360, "seconds": 8.25}


def serving(scenario: Callable[[ForkServer], Awaitable[None]], *modules: str) -> None:
    async def whole() -> None:
        server = ForkServer(*(modules or (INTAKE,)))
        try:
            await scenario(server)
        finally:
            await server.close()
            await processes.wait_for_starts()
        assert server.pid is None

    asyncio.run(whole())
    gc.collect()


@pytest.fixture
def arguments(portrait: Path, speech: Path) -> tuple[str, ...]:
    return str(portrait), str(speech), "300", "300"


def test_it_starts_once_and_forks_each_time(arguments: tuple[str, ...]) -> None:
    async def scenario(server: ForkServer) -> None:
        assert server.pid is None
        pids: set[int | None] = set()
        for _ in range(2):
            facts: Facts = {}
            assert await server.run(INTAKE, arguments, facts) is End.DONE
            assert facts == FOUND
            pids.add(server.pid)
        assert len(pids) == 1
        assert not server.broken

    serving(scenario)


def test_it_is_started_again_when_it_has_died(arguments: tuple[str, ...]) -> None:
    async def scenario(server: ForkServer) -> None:
        await server.start()
        first = server.pid
        assert first
        os.kill(first, signal.SIGKILL)
        facts: Facts = {}
        with suppress(OSError):  # it may be found out only when it is written to
            assert await server.run(INTAKE, arguments, facts) in (None, End.DONE)
        assert await server.run(INTAKE, arguments, facts) is End.DONE
        assert facts == FOUND
        assert server.pid != first

    serving(scenario)


def test_one_that_cannot_import_its_modules_is_broken() -> None:
    async def scenario(server: ForkServer) -> None:
        facts: Facts = {}
        assert await server.run("dice_talk.nothing", (), facts) is None
        assert server.broken
        assert any("dice_talk.nothing" in line for line in server.last_words)
        assert facts == {}

    serving(scenario, "dice_talk.nothing")


def test_many_at_the_same_time(arguments: tuple[str, ...]) -> None:
    async def scenario(server: ForkServer) -> None:
        found: list[Facts] = [{} for _ in range(5)]
        ends = await asyncio.gather(*(server.run(INTAKE, arguments, facts) for facts in found))
        assert ends == [End.DONE] * 5
        assert found == [FOUND] * 5

    serving(scenario)


def test_only_whole_lines_of_json_tell_something() -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader(limit=100)
        facts: Facts = {}
        reader.feed_data(b'{"a": 1}\nrubbish\n{"b": 2}\n{"a": 3}\n{"c"')
        reader.feed_eof()
        await _read(reader, facts)
        assert facts == {"a": 3, "b": 2}
        endless = asyncio.StreamReader(limit=100)
        endless.feed_data(b'{"a": 4}\n{"b": "' + b"x" * 999 + b'"}\n{"a": 5}\n')
        endless.feed_eof()
        await _read(endless, facts)
        assert facts == {"a": 4, "b": 2}

    asyncio.run(scenario())
