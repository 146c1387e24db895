"""Errors that only the service itself can find. The code of each decides its status; see `dice_talk.error_codes`."""

import logging
from collections.abc import Mapping
from typing import Any

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import fill

log = logging.getLogger(__name__)


class ApiError(Exception):
    """Base of errors that only the service itself can find."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
        /,
        **params: Any,
    ) -> None:
        """`message`, `detail`: sentences; if there are `params`, with the names of these in braces."""
        super().__init__(fill(message, params))
        self.code, self.params = code, params
        self.detail = fill(detail, params)
        self.headers = headers

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.code.status or 500


class InvalidValue(ApiError):
    """A field is out of its range, or the request makes no sense in this state."""


class Unauthorized(ApiError):
    """A key is needed, and no known one was sent."""


class Forbidden(ApiError):
    """The key is known, but was revoked."""


class TooManyRequests(ApiError):
    """One key asks too often, or for too much."""


class TaskNotFound(ApiError):
    """No task has this id, it was removed after its time, or it belongs to another key."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.TASK_NOT_FOUND, "Task not found")


class TaskNotCompleted(ApiError):
    """The video is not finished yet, or never will be."""


class Conflict(ApiError):
    """The request contradicts what has happened."""


class PreconditionFailed(ApiError):
    """A conditional request asks for another version of the file."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.PRECONDITION_FAILED, message, "Download it anew, without the condition.")


class UploadTimeout(ApiError):
    """The body did not arrive in time."""


class UploadTooLarge(ApiError):
    """A file is larger than allowed; the rest of it was not read."""


class MalformedForm(ApiError):
    """A field is missing, sent twice, unknown, or not of its type."""


class QueueFull(ApiError):
    """No more tasks may wait."""


class Unavailable(ApiError):
    """The service is stopping, or its disk is full."""
