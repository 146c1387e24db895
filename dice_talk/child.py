"""What child processes that look at files have in common: their limits, and how they say what they found."""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

MEMORY_BYTES = 4 << 30
"""Address space: the largest picture allowed takes 150 MB a copy, and libraries map far more than they use."""
LOOK_EVERY_S = 1.0
CPU_SECONDS = 15
"""The largest picture decodes in 3 s here, 300 s of MP3 in less than 1 s; what takes longer was made to."""


class End(StrEnum):
    """How a child ended."""

    DONE = "done"
    LIMIT = "limit"  # it ran out of memory or time, or a decoder crashed: the file is to blame
    FAILED = "failed"  # the program does not work: an exception that nobody foresaw
    KILLED = "killed"  # by somebody else


def confine() -> None:
    """Limits this process before it opens a file that may be hostile."""
    exit_with_parent()
    limit(resource.RLIMIT_AS, MEMORY_BYTES)
    limit(resource.RLIMIT_CPU, CPU_SECONDS)
    limit(resource.RLIMIT_CORE, 0)


def exit_with_parent() -> None:
    """Lets this process end soon after the one that started it: nobody would hear what it says."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def limit(kind: int, value: int) -> None:
    """Lowers a limit of this process, where the system lets it: macOS knows no limit on the address space."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def say(**facts: object) -> None:
    """One JSON line to standard output, at once: what follows may not come to its end."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


@contextmanager
def report_missing_files() -> Iterator[None]:
    """Says which file was not there: whoever asked may have removed it meanwhile."""
    try:
        yield
    except FileNotFoundError as error:
        say(missing=str(error.filename))
