"""What can go wrong while rendering, in words that the person who sent the input can act on.

There is no HTTP here, except for the statuses in the table of codes, `dice_talk.error_codes`.
"""

import errno
from collections.abc import Mapping
from typing import Any, Self

from dice_talk.error_codes import ErrorCode, Params


def fill(template: str | None, params: Params) -> str | None:
    """Return a sentence with its values. One without values may hold any characters."""
    return template.format_map(params) if template and params else template


class DiceTalkError(Exception):
    """Base of all expected failures. Trying the same input again fails in the same way.

    `str(error)` says in one sentence what was wrong, `detail` what is allowed or what to try. Neither contains a path
    of the server. `code` and `params` say the same to programs.
    """

    def __init__(self, code: ErrorCode, message: str, detail: str | None = None, /, **params: Any) -> None:
        """`message`, `detail`: sentences; if there are `params`, with the names of these in braces."""
        super().__init__(fill(message, params))
        self.code, self.params = code, params
        self.detail = fill(detail, params)

    def facts(self) -> dict[str, Any]:
        """Return all that is known, ready for JSON; see `from_facts`."""
        return {"error": str(self), "detail": self.detail, "code": self.code.value, "params": self.params}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Return the error that another process described by `facts`."""
        error = cls(ErrorCode.known(facts["code"]), facts["error"], facts["detail"])
        error.params = dict(facts["params"])
        return error


class InvalidImage(DiceTalkError):
    """The portrait is not an image that can be used."""


class InvalidAudio(DiceTalkError):
    """The speech recording is not audio that can be used."""


class NoFaceFound(DiceTalkError):
    """No detector finds a face in the portrait."""


class InvalidOptions(DiceTalkError):
    """Options that are each in range do not fit this input."""


class EngineUnavailable(DiceTalkError):
    """The requested engine cannot run here: something is not installed or not downloaded."""


class RenderFailed(DiceTalkError):
    """The engine did not make the video that it promised."""


def file_facts(error: OSError) -> dict[str, Any]:
    """Return what is known of a file that cannot be read or written, in the form of `DiceTalkError.facts`."""
    words = error.strerror or str(error)
    return {"error": words, "detail": None, "code": ErrorCode.FILE_UNREADABLE.value, "params": {}}


def no_room(error: BaseException) -> bool:
    """Whether nothing more can be written: the disk is full or read-only."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def no_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, the system's, PyTorch's or OpenCV's error."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _opencv_code(error) == -4


def _opencv_code(error: BaseException) -> object:
    return getattr(error, "code", None) if type(error).__module__.startswith("cv2") else None


class Cancelled(Exception):
    """Raised by `report` in an engine if the task is to stop."""
