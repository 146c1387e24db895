"""What the child processes that inspect files have in common: resource limits and the way they report."""

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
"""Address space. The largest picture allowed takes 150 MB a copy, and libraries map far more than they use."""
LOOK_EVERY_S = 1.0
CPU_SECONDS = 15
"""The largest picture decodes in 3 s here, and 300 s of MP3 in less than 1 s. A file that takes longer was made to do
so.
"""


class End(StrEnum):
    """How a child ended."""

    DONE = "done"
    LIMIT = "limit"  # it ran out of memory or time, or a decoder crashed: the file is to blame
    FAILED = "failed"  # an unexpected exception: the program is to blame
    KILLED = "killed"  # by another process or a person


def confine() -> None:
    """Limit the resources of this process. Call before opening a file that may be hostile."""
    exit_with_parent()
    limit(resource.RLIMIT_AS, MEMORY_BYTES)
    limit(resource.RLIMIT_CPU, CPU_SECONDS)
    limit(resource.RLIMIT_CORE, 0)


def exit_with_parent() -> None:
    """Make this process exit soon after its parent, because nobody would read its output any more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def limit(kind: int, value: int) -> None:
    """Lower a limit of this process, if the system allows it: macOS has no limit on the address space."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def say(**facts: object) -> None:
    """Write one JSON line to standard output and flush it, because later work may not get to its end."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


@contextmanager
def report_missing_files() -> Iterator[None]:
    """Report the file if it is missing: the server may have removed it in the meantime."""
    try:
        yield
    except FileNotFoundError as error:
        say(missing=str(error.filename))
