"""Child processes that look at files, when whoever asked is gone."""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from api import children, processes
from tests.waiting import wait_for


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
        await processes.settled()

    monkeypatch.setattr(children, "command", endless)
    for pause in range(20):
        asyncio.run(cancel_twice(pause))
        assert not sleeping()
    gc.collect()  # what was left would warn now, which is an error in tests


def test_a_child_ends_soon_after_whoever_started_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = f"from dice_talk.child import end_with_parent as e; e(); open({str(ready)!r}, 'w').write('1')"
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

    def gone() -> bool:
        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    wait_for(gone)
