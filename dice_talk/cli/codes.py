"""Exit codes, as documented in docs/cli.md."""

from http import HTTPStatus

from dice_talk.client import Refused, ServerUnreachable
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

_CLOSED = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}


def code_of(error: Exception) -> int:
    """The exit code that an error stands for."""
    closed = isinstance(error, Refused) and error.status in _CLOSED
    return NOT_THERE if closed or isinstance(error, EngineUnavailable | ServerUnreachable) else FAILED
