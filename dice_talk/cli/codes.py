"""Exit codes, as documented in docs/cli.md."""

from dice_talk.client import KeyRefused, ServerBusy, ServerUnreachable
from dice_talk.errors import EngineUnavailable

DONE = 0
FAILED = 1
"""A video could not be made from the input, or could not be written."""
USAGE = 2
"""The arguments are invalid; nothing was started. Click uses the same number."""
NOT_THERE = 3
"""The engine or the server is not available or refuses access. The same command may work later."""
STOPPED = 130
"""The user pressed Ctrl-C. Shells use the same number: 128 plus that of the signal."""


def code_of(error: Exception) -> int:
    """Return the exit code for an error."""
    not_there = EngineUnavailable | KeyRefused | ServerBusy | ServerUnreachable
    return NOT_THERE if isinstance(error, not_there) else FAILED
