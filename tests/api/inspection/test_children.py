"""Child processes that inspect files, when the client that asked is gone."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from api import processes
from api.inspection import children
from dice_talk.errors import DiceTalkError
from tests.waiting import gone, wait_for


def sleeping() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == "sleep"]


def test_nothing_is_left_when_the_loop_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled when the time to shut down is over, and once more when the loop ends, before the child has."""

    def endless(module: str, arguments: Sequence[str]) -> list[str]:
        return ["sleep", "600"]

    async def cancel_twice(pause: int) -> None:
        asking = asyncio.create_task(children.Children().ask("any", seconds=600))
        while not sleeping():
            await asyncio.sleep(0)
        for _ in range(pause):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.sleep(0)
        await processes.wait_for_starts()

    monkeypatch.setattr(children, "command", endless)
    for pause in range(20):
        asyncio.run(cancel_twice(pause))
        assert not sleeping()
    gc.collect()  # what was left would warn now, which is an error in tests


def test_a_child_ends_soon_after_whoever_started_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = f"from dice_talk.child import exit_with_parent as e; e(); open({str(ready)!r}, 'w').write('1')"
    code = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child + "; import time; time.sleep(600)"!r}])
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline()) if parent.stdout else 0
        wait_for(ready.exists)
        time.sleep(0.1)
        assert psutil.pid_exists(pid)
        parent.kill()

    wait_for(lambda: gone(pid))


@pytest.mark.parametrize("forks", [True, False])
def test_forked_or_started_it_says_the_same(
    forks: bool, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FORKS", forks)

    async def look() -> None:
        asked = children.Children()
        await asked.start()
        try:
            said = await asked.ask("dice_talk.intake", str(portrait), str(speech), "300", seconds=60)
            assert said == {"width": 360, "height": 360, "seconds": 8.25}
            with pytest.raises(DiceTalkError, match="Invalid image file type"):
                await asked.ask("dice_talk.intake", str(speech), str(speech), "300", seconds=60)
            with pytest.raises(FileNotFoundError):
                files = [str(tmp_path / name) for name in ("image", "audio", "video")]
                await asked.ask("dice_talk.digest", *files, seconds=60)
            assert bool(asked.pids()) == forks
            with pytest.raises(children.ChildFailed):
                await asked.ask("dice_talk.intake", str(portrait), str(speech), "no number", seconds=60)
        finally:
            await asked.close()
            await processes.wait_for_starts()

    asyncio.run(look())
    gc.collect()


def test_a_look_that_hangs_is_ended_and_the_next_one_works(speech: Path, tmp_path: Path) -> None:
    """In a picture that never comes; and so is one that nobody waits for any more."""
    os.mkfifo(tmp_path / "pipe")

    async def look() -> None:
        asked = children.Children()
        await asked.start()
        hang = "dice_talk.intake", str(tmp_path / "pipe"), str(speech), "300"
        try:
            await asked.ask("dice_talk.intake", str(speech), str(speech), "300", seconds=60)
        except DiceTalkError:
            forking = psutil.Process(asked.pids()[0])
        assert await asked.ask(*hang, seconds=1) == {}
        assert not forking.children()
        asking = asyncio.create_task(asked.ask(*hang, seconds=60))
        while not forking.children():
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        assert not forking.children()
        assert forking.is_running(), "it was only told to end the child"
        await asked.close()

    if children.FORKS:
        asyncio.run(look())
