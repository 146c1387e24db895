"""Process priorities: background work yields the CPU to the processes that answer clients."""

import os
from contextlib import suppress
from pathlib import Path

ENGINE = 10
INTAKE = 5
"""Niceness of the first check of an upload: a client waits for it, but others wait for faster answers."""
MEASURE = 19
"""Niceness of measuring finished videos, which must not slow down unfinished ones."""


def lower_priority(niceness: int) -> None:
    """Lower the priority of this process for good."""
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        # Linux may divide the CPU between sessions first. Niceness then counts only within a session, so lower its own
        # too.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
