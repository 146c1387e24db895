"""How processes that have time give way to those that answer clients."""

import os
from contextlib import suppress
from pathlib import Path

ENGINE = 10
INTAKE = 5
"""Of the first look at an upload: a client waits for it, but others for less."""
MEASURE = 19
"""Of looking at what is finished: it must not slow down what is not."""


def lower_priority(niceness: int) -> None:
    """Lowers the priority of this process for good."""
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        # Linux may share the cores out between sessions first, and then niceness counts only within each of them.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
