"""Errors as the OpenAPI document shows them."""

from collections.abc import Mapping
from typing import Any

from api.http.access import HINT
from api.http.errors import ErrorBody
from dice_talk.error_codes import ErrorCode

_Params = Mapping[str, object]


def _example(code: ErrorCode, error: str, detail: str | None = None, params: _Params | None = None) -> dict[str, Any]:
    body = ErrorBody(error=error, detail=detail, code=code, params=dict(params) if params else None)
    return body.model_dump(mode="json", exclude_none=True)


NOT_FOUND = _example(ErrorCode.TASK_NOT_FOUND, "Task not found")
NOT_COMPLETED = _example(ErrorCode.TASK_NOT_COMPLETED, "Task not completed yet", "Ask for its status until COMPLETED.")
WRONG_TYPE = _example(
    ErrorCode.IMAGE_TYPE,
    "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']",
    "The file is a WebP picture. Make a JPEG of it: magick portrait.webp portrait.jpg",
    {
        "kind": "a WebP picture",
        "kind_id": "webp",
        "family": "picture",
        "step": "Make a JPEG of it: magick portrait.webp portrait.jpg",
        "command": "magick portrait.webp portrait.jpg",
    },
)
CALLBACK = _example(
    ErrorCode.CALLBACK_ADDRESS,
    "callback_url points to an address that is not allowed",
    "It has to be public, or in a network that the operator of this server allows.",
)
LABELLED = _example(
    ErrorCode.LABEL_REQUIRED, "This server makes no video without its visible label", "Leave visible_label out."
)
OUT_OF_RANGE = _example(
    ErrorCode.VALUE_OUT_OF_RANGE,
    "fps must be between 8 and 60, got 100",
    params={"field": "fps", "low": 8, "high": 60, "got": "100"},
)
NO_ENGINE = _example(
    ErrorCode.ENGINE_UNAVAILABLE,
    "Engine 'diffusion' is not available on this server",
    "Missing: checkpoint DICE-Talk/unet.pth. Use engine=lite or engine=auto.",
    {
        "engine": "diffusion",
        "missing": "checkpoint DICE-Talk/unet.pth",
        "remedy": "Use engine=lite or engine=auto.",
    },
)
TOO_LARGE = _example(
    ErrorCode.FILE_TOO_LARGE,
    "image is too large",
    "Allowed: image at most 10 MB, audio at most 50 MB.",
    {"field": "image", "allowed": "image at most 10 MB, audio at most 50 MB", "most": 10.0},
)
MALFORMED = _example(
    ErrorCode.FIELD_CHOICE,
    "emotion is not one of the known values",
    "Allowed for emotion: contempt, sad, ...",
    {"field": "emotion"},
)
QUEUE_FULL = _example(
    ErrorCode.QUEUE_FULL, "Too many tasks are waiting", "At most 100 may wait. Try again later.", {"most": 100}
)
KEY_USED = _example(
    ErrorCode.IDEMPOTENCY_KEY_USED,
    "The Idempotency-Key was used for another request",
    "Use a new key for each request that differs.",
)
TIMED_OUT = _example(
    ErrorCode.UPLOAD_TIMEOUT,
    "The upload took too long",
    "It has to arrive within 300 seconds.",
    {"seconds": 300.0},
)
DAMAGED = _example(
    ErrorCode.IMAGE_DAMAGED,
    "The image can't be decoded",
    "The file is damaged or incomplete. Send a whole JPEG or PNG.",
)
ANOTHER_VERSION = _example(
    ErrorCode.PRECONDITION_FAILED,
    "If-Match names another version of this file",
    "Download it anew, without the condition.",
)
BEYOND = _example(ErrorCode.RANGE_NOT_SATISFIABLE, "Requested Range Not Satisfiable")
NOT_READY = _example(ErrorCode.NOT_READY, "The service is not ready", "The database does not answer")
STOPPING = _example(ErrorCode.SHUTTING_DOWN, "The server is shutting down", "Try again soon.")
NO_KEY = _example(ErrorCode.KEY_MISSING, "An API key is needed", HINT)
REVOKED = _example(ErrorCode.KEY_REVOKED, "The API key was revoked", "Ask the operator of this server for another.")
TOO_MANY = _example(
    ErrorCode.RATE_LIMIT,
    "Too many requests",
    "At most 600 a minute are taken with one key. Ask less often.",
    {"most": 600},
)
UNEXPECTED = _example(ErrorCode.INTERNAL_ERROR, "Internal server error", "The server's log says more.")
ENDED = _example(ErrorCode.TASK_ENDED, "The task has ended already")
BAD_LIMIT = _example(
    ErrorCode.VALUE_OUT_OF_RANGE,
    "limit must be between 1 and 100, got 0",
    params={"field": "limit", "low": 1, "high": 100, "got": "0"},
)
BAD_CURSOR = _example(
    ErrorCode.CURSOR_INVALID, "The cursor is not one of this server", "Send next_cursor as it was given."
)
BAD_STATE = _example(
    ErrorCode.FIELD_CHOICE,
    "state is not one of the known values",
    "Allowed for state: PENDING, PROCESSING, COMPLETED or FAILED",
    {"field": "state"},
)
UNKNOWN_FIELD = _example(ErrorCode.FIELD_UNKNOWN, "Unknown form field: colour", params={"field": "colour"})
BIG_BODY = _example(
    ErrorCode.REQUEST_TOO_LARGE,
    "The request is too large",
    "Allowed: 512 KB, and no files.",
    {"what": "The request", "allowed": "512 KB, and no files"},
)
LATE_BODY = TIMED_OUT
NO_VIDEO = _example(ErrorCode.VIDEO_TYPE, "The file is not an MP4 video", "Send an MP4, as this service makes them.")
VIDEO_TOO_LARGE = _example(
    ErrorCode.FILE_TOO_LARGE,
    "video is too large",
    "Allowed: video at most 500 MB.",
    {"field": "video", "allowed": "video at most 500 MB", "most": 500.0},
)
BUSY = _example(ErrorCode.UPLOADS_FULL, "Too many uploads at the same time", "At most 128 are taken.", {"most": 128})
NO_FILE = _example(ErrorCode.NO_FILE, "Neither image nor audio was sent", "Send one of them, or both.")


Examples = Mapping[int, Mapping[str, Mapping[str, Any]]]
"""Examples of errors by status and name."""
UPLOAD_ERRORS: Examples = {
    408: {"too slow": TIMED_OUT},
    422: {"malformed form": MALFORMED},
    503: {"too many uploads": BUSY, "shutting down": STOPPING},
}
"""What every call with files may answer."""


def documented(*several: Examples) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors, from examples by status and name."""
    statuses = sorted({status for errors in several for status in errors})
    errors = {status: {k: v for each in several for k, v in each.get(status, {}).items()} for status in statuses}
    retry = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return {
        status: {
            **({"headers": retry} if status in (429, 503) else {}),
            "model": ErrorBody,
            "description": " / ".join(examples),
            "content": {"application/json": {"examples": {name: {"value": body} for name, body in examples.items()}}},
        }
        for status, examples in errors.items()
    }
