"""The errors of uploads that are too slow, too large or broken off."""

from collections.abc import Mapping

from api.errors import InvalidValue, UploadTimeout, UploadTooLarge
from api.settings import MEGABYTE
from dice_talk.error_codes import ErrorCode

FRAMING_BYTES = 512 * 1024
"""What boundaries, part headers and text fields may add to the files."""


def aborted() -> InvalidValue:
    """Return an error that only the log will show: the client is gone."""
    return InvalidValue(ErrorCode.UPLOAD_ABORTED, "The upload was broken off", "Send it again.")


def late(seconds: float) -> UploadTimeout:
    """Return the error for a body that did not arrive in time."""
    return UploadTimeout(
        ErrorCode.UPLOAD_TIMEOUT,
        "The upload took too long",
        "It has to arrive within {seconds:g} seconds.",
        seconds=seconds,
    )


def file_too_large(field: str, limits: Mapping[str, int]) -> UploadTooLarge:
    """Return the error for a file. `limits`: largest size in bytes by field."""
    return UploadTooLarge(
        ErrorCode.FILE_TOO_LARGE,
        "{field} is too large",
        "Allowed: {allowed}.",
        field=field,
        allowed=_allowed(limits),
        most=_megabytes(limits[field]),
    )


def body_too_large(what: str, limits: Mapping[str, int]) -> UploadTooLarge:
    """Return the error for a whole body. `limits`: largest size in bytes by file field; none if it takes no files."""
    return UploadTooLarge(
        ErrorCode.REQUEST_TOO_LARGE,
        "{what} is too large",
        "Allowed: {allowed}.",
        what=what,
        allowed=_allowed(limits) or f"{FRAMING_BYTES // 1024} KB, and no files",
    )


def _allowed(limits: Mapping[str, int]) -> str:
    return ", ".join(f"{name} at most {_megabytes(size):g} MB" for name, size in limits.items())


def _megabytes(size: int) -> float:
    return round(size / MEGABYTE, 2)
