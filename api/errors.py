"""Every error a client can get: one table from exception to status code, one body `{"error": ..., "detail": ...}`."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

log = logging.getLogger(__name__)


class ApiError(Exception):
    """Base of errors that only the service itself can find."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, detail: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        self.headers = headers


class InvalidValue(ApiError):
    """A field is out of its range, or the request makes no sense in this state."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(ApiError):
    """A key is needed, and none that is known was sent."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(ApiError):
    """The key is known, and no longer accepted."""

    status = HTTPStatus.FORBIDDEN


class TooManyRequests(ApiError):
    """One key asks too often, or for too much."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class TaskNotFound(ApiError):
    """No task has this id, it was removed after its time, or it is somebody else's."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self) -> None:
        super().__init__("Task not found")


class TaskNotCompleted(ApiError):
    """The video is not there yet, or never will be."""

    status = HTTPStatus.BAD_REQUEST


class Conflict(ApiError):
    """The request contradicts what has happened already."""

    status = HTTPStatus.CONFLICT


class PreconditionFailed(ApiError):
    """A conditional request asks for another version than there is."""

    status = HTTPStatus.PRECONDITION_FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message, "Download it anew, without the condition.")


class UploadTimeout(ApiError):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class UploadTooLarge(ApiError):
    """A file is larger than allowed; the rest of it was not read."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class MalformedForm(ApiError):
    """A field is missing, sent twice, unknown, or not of its type."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class QueueFull(ApiError):
    """As many tasks wait as are allowed to."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class Unavailable(ApiError):
    """The service stops, or has no room on its disk."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
