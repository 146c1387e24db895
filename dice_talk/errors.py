"""What can go wrong while rendering, in words that the person who sent the input can act on.

No HTTP here: `api.errors` maps these to status codes.
"""

import errno


class DiceTalkError(Exception):
    """Base of all expected failures; trying the same input again gives the same failure.

    `str(error)` says in one sentence what was wrong; `detail` what is allowed or what to try.
    Neither ever holds a path of the server.
    """

    def __init__(self, message: str, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail


class InvalidImage(DiceTalkError):
    """The portrait is not an image that can be used."""


class InvalidAudio(DiceTalkError):
    """The speech recording is not audio that can be used."""


class NoFaceFound(DiceTalkError):
    """No detector finds a face in the portrait."""


class InvalidOptions(DiceTalkError):
    """Options that are each in range do not go together with this input."""


class EngineUnavailable(DiceTalkError):
    """The engine asked for cannot run here: something is not installed or not downloaded."""


class RenderFailed(DiceTalkError):
    """The engine ended without the video that was promised."""


def no_room(error: BaseException) -> bool:
    """Whether it says that nothing more can be written: the disk is full, or may only be read."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def no_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out: Python's, the system's, PyTorch's or OpenCV's error."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _opencv_code(error) == -4


def _opencv_code(error: BaseException) -> object:
    return getattr(error, "code", None) if type(error).__module__.startswith("cv2") else None


class Cancelled(Exception):
    """Raised by `report` inside an engine once the task is to stop."""
