"""Exit codes, as documented in docs/cli.md."""

from dice_talk.client import KeyRefused, ServerBusy, ServerUnreachable
from dice_talk.errors import EngineUnavailable

DONE = 0
FAILED = 1
"""A video could not be made of this input, or not be written."""
USAGE = 2
"""What was typed makes no sense; nothing was begun. Click's own number."""
NOT_THERE = 3
"""The engine or the server is not there or lets nobody in: the same command may work later, or elsewhere."""
STOPPED = 130
"""By Ctrl-C, as shells count it."""


def code_of(error: Exception) -> int:
    """The exit code that an error stands for."""
    not_there = EngineUnavailable | KeyRefused | ServerBusy | ServerUnreachable
    return NOT_THERE if isinstance(error, not_there) else FAILED
