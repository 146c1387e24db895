import time
from collections.abc import Callable
from typing import TypeVar

import psutil

Result = TypeVar("Result")
PAUSES = 0.02, 0.25
"""Seconds between two checks, at first and in the long run: frequent checks would slow the engines down."""


def wait_for(condition: Callable[[], Result | None], seconds: float = 200) -> Result:
    """What `condition` gives once it is true."""
    end, pause = time.monotonic() + seconds, PAUSES[0]
    while not (result := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause)
        pause = min(1.2 * pause, PAUSES[1])
    return result


def gone(pid: int) -> bool:
    """Whether a process has ended, even if nobody has waited for it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
