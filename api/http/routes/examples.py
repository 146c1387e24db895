"""Errors as the OpenAPI document shows them."""

from typing import Any

from api.http.access import HINT
from api.http.errors import ErrorBody

NOT_FOUND = {"error": "Task not found"}
NOT_COMPLETED = {"error": "Task not completed yet", "detail": "Ask for its status until COMPLETED."}
WRONG_TYPE = {"error": "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"}
CALLBACK = {
    "error": "callback_url points to an address that is not allowed",
    "detail": "It has to be public, or in a network that whoever runs this server allows.",
}
LABELLED = {"error": "This server makes no video without its visible label", "detail": "Leave visible_label out."}
OUT_OF_RANGE = {"error": "fps must be between 8 and 60, got 100"}
NO_ENGINE = {
    "error": "Engine 'diffusion' is not available on this server",
    "detail": "Missing: checkpoint DICE-Talk/unet.pth. Use engine=lite or engine=auto.",
}
TOO_LARGE = {"error": "image is too large", "detail": "Allowed: image at most 10 MB, audio at most 50 MB."}
MALFORMED = {"error": "emotion is not one of the known values", "detail": "Allowed: emotion: 'contempt', 'sad', ..."}
QUEUE_FULL = {"error": "Too many tasks are waiting", "detail": "At most 100 may wait. Try again later."}
KEY_USED = {
    "error": "The Idempotency-Key was used for another request",
    "detail": "Use a new key for each request that differs.",
}
TIMED_OUT = {"error": "The upload took too long", "detail": "It has to arrive within 300 seconds."}
DAMAGED = {
    "error": "The image can't be decoded",
    "detail": "The file is damaged or incomplete. Send a whole JPEG or PNG.",
}
ANOTHER_VERSION = {
    "error": "If-Match names another version of this file",
    "detail": "Download it anew, without the condition.",
}
NOT_READY = {"error": "The service is not ready", "detail": "The database does not answer"}
STOPPING = {"error": "The server is shutting down", "detail": "Try again soon."}
NO_KEY = {"error": "An API key is needed", "detail": HINT}
REVOKED = {"error": "The API key was revoked", "detail": "Ask whoever runs this server for another."}
TOO_MANY = {
    "error": "Too many requests",
    "detail": "At most 600 a minute are taken with one key. Ask less often.",
}
UNEXPECTED = {"error": "Internal server error", "detail": "The server's log says more."}
ENDED = {"error": "The task has ended already"}
BAD_LIMIT = {"error": "limit must be between 1 and 100, got 0"}
BAD_CURSOR = {"error": "The cursor is not one of this server", "detail": "Send next_cursor as it was given."}
BAD_STATE = {
    "error": "state is not one of the known values",
    "detail": "Allowed: state: 'PENDING', 'PROCESSING', 'COMPLETED' or 'FAILED'",
}
UNKNOWN_FIELD = {"error": "Unknown form field: colour"}
BIG_BODY = {"error": "The request is too large", "detail": "Allowed: 512 KB, and no files."}
LATE_BODY = {"error": "The upload took too long", "detail": "It has to arrive within 300 seconds."}
NO_VIDEO = {"error": "The file is not an MP4 video", "detail": "Send an MP4, as this service makes them."}
VIDEO_TOO_LARGE = {"error": "video is too large", "detail": "Allowed: video at most 500 MB."}
BUSY = {"error": "Too many uploads at the same time", "detail": "At most 128 are taken."}
NO_FILE = {"error": "Neither image nor audio was sent", "detail": "Send one of them, or both."}


def documented(errors: dict[int, dict[str, dict[str, str]]]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors, from examples by status and name."""
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
