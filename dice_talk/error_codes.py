"""The code of every error, for programs. The sentences beside it are for people.

This is the only table. The status of a response, the OpenAPI document, the table in docs/api.md and the page's
translations are taken from it or checked against it. A code keeps its meaning. New ones may be added.
"""

from enum import StrEnum
from typing import Any, Self

Params = dict[str, Any]
"""The values that a sentence names, ready for JSON."""


class ErrorCode(StrEnum):
    """A situation that a program can tell from others: code, HTTP status, meaning, and the names of its values.

    The status is None if the code belongs only to failed tasks, to the command line or to the Python client.
    """

    status: int | None
    meaning: str
    params: tuple[str, ...]

    def __new__(cls, value: str, status: int | None, meaning: str, *params: str) -> Self:
        """`params`: names of the values that every error with this code has."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.status, code.meaning, code.params = status, meaning, params
        return code

    # --- Files

    IMAGE_TYPE = "image_type", 400, "The image is neither JPEG nor PNG.", "kind", "kind_id", "family", "step", "command"
    IMAGE_ENCODING = "image_encoding", 400, "The image is a kind of JPEG or PNG that is not read.", "kind", "kind_id"
    IMAGE_DAMAGED = "image_damaged", 400, "The image is damaged or incomplete."
    IMAGE_UNREADABLE = "image_unreadable", 400, "Decoding the image took too much memory or time."
    IMAGE_SCANS = "image_scans", 400, "The JPEG has too many scans.", "scans", "most"
    IMAGE_TOO_SMALL = "image_too_small", 400, "A side of the image is too short.", "width", "height", "least"
    IMAGE_TOO_NARROW = "image_too_narrow", 400, "The image is too long and narrow.", "width", "height", "most"
    IMAGE_TOO_MANY_PIXELS = "image_too_many_pixels", 400, "The image has too many pixels.", "width", "height", "most"
    AUDIO_TYPE = "audio_type", 400, "The audio is neither WAV nor MP3.", "kind", "kind_id", "family", "step", "command"
    AUDIO_DAMAGED = "audio_damaged", 400, "The audio is damaged or incomplete."
    AUDIO_UNREADABLE = "audio_unreadable", 400, "Decoding the audio took too much memory or time."
    AUDIO_EMPTY = "audio_empty", 400, "The audio holds no sample of sound."
    AUDIO_SAMPLE_RATE = "audio_sample_rate", 400, "The sample rate is out of range.", "rate", "low", "high"
    AUDIO_CHANNELS = "audio_channels", 400, "The audio has too many channels.", "channels", "most"
    VIDEO_TYPE = "video_type", 400, "The file to verify is not an MP4 video."
    VIDEO_WITHOUT_PICTURE = "video_without_picture", 400, "The MP4 file to verify has no picture."
    VIDEO_DAMAGED = "video_damaged", 400, "The video to verify is damaged or incomplete."
    VIDEO_UNREADABLE = "video_unreadable", 400, "Reading the video took too much memory or time."
    FILE_EMPTY = "file_empty", 400, "A file field holds no bytes.", "field"
    NO_FILE = "no_file", 400, "Preflight was sent neither an image nor audio."
    FILE_TOO_LARGE = "file_too_large", 413, "A file is larger than allowed.", "field", "allowed", "most"
    REQUEST_TOO_LARGE = "request_too_large", 413, "The body is larger than allowed.", "what", "allowed"

    # --- Faces and the size of the video

    NO_FACE = "no_face", None, "No face is found in the image."
    FACE_UNCLEAR = "face_unclear", None, "A face is found, but not its eyes, nose and mouth."
    NO_SUCH_FACE = "no_such_face", None, "There is no face of that `face_index`.", "index", "count", "faces", "send"
    VIDEO_TOO_LARGE = "video_too_large", 400, "A side of the video would be too long.", "width", "height", "most"

    # --- Fields and forms

    VALUE_OUT_OF_RANGE = "value_out_of_range", 400, "A number is out of its range.", "field", "low", "high", "got"
    FIELD_MISSING = "field_missing", 422, "A required field is missing.", "field"
    FIELD_UNKNOWN = "field_unknown", 422, "There is no such field.", "field"
    FIELD_REPEATED = "field_repeated", 422, "A field was sent twice.", "field"
    FIELD_TOO_LONG = "field_too_long", 422, "A text field is too long.", "field", "most", "files"
    FIELD_TYPE = "field_type", 422, "A field has the wrong type.", "field", "expected"
    FIELD_CHOICE = "field_choice", 422, "A field is none of the values that it may have.", "field"
    FIELD_INVALID = "field_invalid", 422, "A field is not valid for another reason.", "field"
    FORM_TYPE = "form_type", 422, "The body is not of a content type that this call takes."
    FORM_MALFORMED = "form_malformed", 422, "The body is not a well-formed form or JSON object."
    FORM_DAMAGED = "form_damaged", 400, "The multipart form breaks off or is malformed."
    FORM_PARTS = "form_parts", 422, "The form has too many parts.", "most"
    UPLOAD_ABORTED = "upload_aborted", 400, "The client closed the connection during the upload."
    UPLOAD_TIMEOUT = "upload_timeout", 408, "The upload took too long.", "seconds"
    LABEL_REQUIRED = "label_required", 400, "This server makes no video without its visible label."
    CALLBACK_CREDENTIALS = "callback_credentials", 400, "`callback_url` holds a user name or password."
    CALLBACK_PORT = "callback_port", 400, "`callback_url` names a port that is not allowed.", "first"
    CALLBACK_ADDRESS = "callback_address", 400, "`callback_url` points to an address that is not allowed."
    CURSOR_INVALID = "cursor_invalid", 400, "`cursor` was not given by this server."

    # --- Tasks

    TASK_NOT_FOUND = "task_not_found", 404, "The task is unknown, was removed, or belongs to another key."
    TASK_NOT_COMPLETED = "task_not_completed", 400, "The task has no video: it has not ended, or it failed."
    TASK_ENDED = "task_ended", 409, "The task has ended and cannot be cancelled."
    IDEMPOTENCY_KEY_USED = "idempotency_key_used", 409, "The `Idempotency-Key` was used for another request."

    # --- Keys and limits

    KEY_MISSING = "key_missing", 401, "An API key is needed and none was sent."
    KEY_UNKNOWN = "key_unknown", 401, "The API key is not known."
    KEY_REVOKED = "key_revoked", 403, "The API key was revoked."
    RATE_LIMIT = "rate_limit", 429, "Too many requests with one key within a minute.", "most"
    KEY_QUEUE_FULL = "key_queue_full", 429, "Too many tasks of one key are waiting.", "most"
    QUEUE_FULL = "queue_full", 503, "Too many tasks are waiting.", "most"
    UPLOADS_FULL = "uploads_full", 503, "Too many uploads at the same time.", "most"
    CLIENT_UPLOADS_FULL = "client_uploads_full", 503, "Too many uploads of one client at the same time.", "most"
    INSPECTIONS_FULL = "inspections_full", 503, "The files waited too long to be inspected.", "seconds"

    # --- The server

    ENGINE_UNAVAILABLE = "engine_unavailable", 400, "The engine is not installed.", "engine", "missing", "remedy"
    WEIGHTS_DAMAGED = "weights_damaged", 400, "A model file is missing or damaged."
    WEIGHTS_TOO_LARGE = "weights_too_large", None, "The weights do not fit into the device's memory.", "device"
    PACKAGE_MISSING = "package_missing", None, "A Python package cannot be loaded."
    INSPECTION_FAILED = "inspection_failed", 503, "The processes that inspect files were killed."
    SHUTTING_DOWN = "shutting_down", 503, "The server is shutting down."
    NOT_READY = "not_ready", 503, "The service is unhealthy; `detail` says why."
    DISK_FULL = "disk_full", 503, "The server cannot store anything more."
    STORAGE_UNAVAILABLE = "storage_unavailable", 503, "The object store that holds the files does not answer."
    DATABASE_UNAVAILABLE = "database_unavailable", 503, "The database does not answer."
    INTERNAL_ERROR = "internal_error", 500, "An error that was not foreseen; the server's log has more."

    # --- HTTP

    NOT_FOUND = "not_found", 404, "There is nothing at this address."
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The address exists, but not for this method."
    REQUEST_MALFORMED = "request_malformed", 400, "The request is not valid HTTP."
    REQUEST_TIMEOUT = "request_timeout", 408, "The head of the request took too long.", "seconds"
    ADDRESS_TOO_LONG = "address_too_long", 414, "The address is too long.", "most"
    HEADERS_TOO_LARGE = "headers_too_large", 431, "The headers are too many or too long.", "most", "bytes"
    HTTP_VERSION = "http_version", 505, "The version of HTTP is not supported."
    HOST_NOT_ALLOWED = "host_not_allowed", 400, "The `Host` is not one of `allowed_hosts`."
    ORIGIN_NOT_ALLOWED = "origin_not_allowed", 400, "The `Origin` is not one of `cors_origins`."
    ORIGIN_METHOD = "origin_method", 400, "Pages of other origins may not use this method."
    PRECONDITION_FAILED = "precondition_failed", 412, "`If-Match` or `If-Unmodified-Since` does not hold."
    RANGE_MALFORMED = "range_malformed", 400, "The `Range` header is malformed."
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable", 416, "The `Range` lies beyond the end of the file."

    # --- Failed tasks

    CANCELLED = "cancelled", None, "The client cancelled the task."
    ENGINE_LOST = "engine_lost", None, "The engine crashed in every attempt.", "reason"
    OUT_OF_MEMORY = "out_of_memory", None, "The server's memory ran out in the last attempt.", "reason"
    TIMED_OUT = "timed_out", None, "The engine gave no sign of life in the last attempt.", "reason"
    INTERRUPTED = "interrupted", None, "The server was killed in every attempt."
    TOO_LITTLE_MEMORY = "too_little_memory", None, "The device's memory does not suffice.", "min_resolution", "advice"
    OVERFLOW = "overflow", None, "The model's numbers overflowed with these options."
    RESULT_INVALID = "result_invalid", None, "The finished file is not the video that was to be made."
    SIGNING_FAILED = "signing_failed", None, "The video could not be signed."
    RENDER_FAILED = "render_failed", None, "The engine gives another reason, in `message`."

    # --- The command line and the Python client

    FILE_UNREADABLE = "file_unreadable", None, "The client's own file cannot be read or written."
    DOWNLOAD_FAILED = "download_failed", None, "Checkpoints could not be downloaded."
    SERVER_UNREACHABLE = "server_unreachable", None, "No DICE-Talk server answers the client."
    NOT_IN_TIME = "not_in_time", None, "The client stopped waiting for the task."
    UNKNOWN = "unknown", None, "The server named no code, or one that this client does not know."

    @property
    def of_engines(self) -> bool:
        """Whether an engine may fail a task with this code; the others are the service's and the client's own."""
        return self in _OF_ENGINES or self.startswith(("image_", "audio_"))

    @classmethod
    def known(cls, value: object) -> "ErrorCode":
        """Return the code that a response names; `UNKNOWN` if it names none, or one of a later release."""
        return next((code for code in cls if code.value == value), cls.UNKNOWN)


_OF_ENGINES = {
    ErrorCode.NO_FACE,
    ErrorCode.FACE_UNCLEAR,
    ErrorCode.NO_SUCH_FACE,
    ErrorCode.VIDEO_TOO_LARGE,
    ErrorCode.VALUE_OUT_OF_RANGE,
    ErrorCode.ENGINE_UNAVAILABLE,
    ErrorCode.WEIGHTS_DAMAGED,
    ErrorCode.WEIGHTS_TOO_LARGE,
    ErrorCode.PACKAGE_MISSING,
    ErrorCode.TOO_LITTLE_MEMORY,
    ErrorCode.OVERFLOW,
    ErrorCode.RESULT_INVALID,
    ErrorCode.SIGNING_FAILED,
    ErrorCode.RENDER_FAILED,
}
