"""Turns every exception into the one body that errors have: `ErrorBody`."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.errors import ApiError, InvalidValue, MalformedForm, Unavailable
from api.storage.files import StorageFailure
from api.tasks.store import StoreFailure
from dice_talk.emotions import Emotion
from dice_talk.engines import in_words
from dice_talk.error_codes import ErrorCode, Params
from dice_talk.errors import DiceTalkError, no_room

log = logging.getLogger(__name__)

LATER = {"Retry-After": "60"}


class ErrorBody(BaseModel):
    """The body of every error."""

    error: str = Field(description="What was wrong.", examples=["Task not found"])
    detail: str | None = Field(None, description="What is allowed, or what to do.")
    code: ErrorCode = Field(
        description="Which error it is, for programs; see the list in docs/api.md.", examples=["task_not_found"]
    )
    params: dict[str, Any] | None = Field(
        None, description="The values in error and detail, by name.", examples=[{"field": "fps", "low": 8, "high": 60}]
    )


RANGE_ERRORS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
"""What pydantic calls a number that is out of its bounds."""
EXPECTED = {
    "bool_parsing": ("boolean", "true, false, 1 or 0"),
    "int_parsing": ("integer", "a whole number"),
    "int_from_float": ("integer", "a whole number"),
    "float_parsing": ("number", "a number"),
    "finite_number": ("finite", "a number, not infinity or NaN"),
}
"""Types of fields by pydantic's names of errors: for programs, and in words."""
QUOTE = "'"
"""Pydantic's, around values; none of ours has one."""
OUT_OF_RANGE = "{field} must be between {low:g} and {high:.10g}, got {got}"


def explain_form(errors: list[Any], bounds: Mapping[str, tuple[float, float]]) -> ApiError:
    """Return one error for all that is wrong with a form: 422 if a field is not what it must be, else 400 for a range.

    The sentence names all findings, the code and the values belong to the first.
    """
    malformed = [error for error in errors if error["type"] not in RANGE_ERRORS]
    if malformed:
        found = [_explain_field(error) for error in malformed]
        return _joined(found, detail=_hint(errors))
    return _joined([_explain_range(error, bounds) for error in errors])


def _joined(found: list[ApiError], detail: str | None = None) -> ApiError:
    kind, first = type(found[0]), found[0]
    joined = kind(first.code, "; ".join(map(str, found)), detail)
    joined.params = first.params
    return joined


def _explain_range(error: Mapping[str, Any], bounds: Mapping[str, tuple[float, float]]) -> ApiError:
    name = _name_of(error)
    low, high = bounds[name]
    got = str(error["input"])[:30]
    return InvalidValue(ErrorCode.VALUE_OUT_OF_RANGE, OUT_OF_RANGE, field=name, low=low, high=high, got=got)


def _name_of(error: Mapping[str, Any]) -> str:
    """Return the name of the field, without its place in a list."""
    return str(next((part for part in reversed(error["loc"]) if isinstance(part, str)), "body"))


def _explain_field(error: Mapping[str, Any]) -> ApiError:
    name, kind = _name_of(error)[:100], error["type"]
    if kind == "missing":
        return MalformedForm(ErrorCode.FIELD_MISSING, "{field} is required", field=name)
    if kind == "extra_forbidden":
        return MalformedForm(ErrorCode.FIELD_UNKNOWN, "Unknown form field: {field}", field=name)
    if kind in ("enum", "literal_error"):
        return MalformedForm(ErrorCode.FIELD_CHOICE, "{field} is not one of the known values", field=name)
    if kind in EXPECTED:
        expected, words = EXPECTED[kind]
        return MalformedForm(ErrorCode.FIELD_TYPE, "{field} must be " + words, field=name, expected=expected)
    reason = str(error["msg"])[:200].replace("{", "{{").replace("}", "}}")
    return MalformedForm(ErrorCode.FIELD_INVALID, "{field} is not valid: " + reason, field=name)


def _hint(errors: list[Any]) -> str | None:
    """Return the allowed values of choices and what is missing."""
    choices = [
        f"for {_name_of(error)}: {error['ctx']['expected'].replace(QUOTE, '')}"
        for error in errors
        if error.get("ctx", {}).get("expected")
    ]
    missing = [_name_of(error) for error in errors if error["type"] == "missing"]
    if "emotion" in missing:
        choices.append(f"for emotion: {in_words([*Emotion])}")
    hints = ["Allowed " + "; ".join(choices)] if choices else []
    if missing:
        hints.append(f"Send {', '.join(missing)}; /docs lists all fields.")
    return ". ".join(hints) or None


NAMES = {416: "Requested Range Not Satisfiable"}
"""Names of statuses that depend on the Python version, for responses that say nothing else."""


def name_of(status: int) -> str:
    """Return the words for a response without any."""
    return NAMES.get(status) or HTTPStatus(status).phrase


BY_STATUS = {
    code.status: code
    for code in (
        ErrorCode.REQUEST_MALFORMED,
        ErrorCode.NOT_FOUND,
        ErrorCode.METHOD_NOT_ALLOWED,
        ErrorCode.RANGE_NOT_SATISFIABLE,
    )
}


def code_of(status: int) -> ErrorCode:
    """Return the code of an error that the framework answers."""
    other = ErrorCode.REQUEST_MALFORMED if 400 <= status < 500 else ErrorCode.INTERNAL_ERROR
    return BY_STATUS.get(status, other)


def respond(
    status: int,
    code: ErrorCode,
    error: str,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    params: Params | None = None,
) -> JSONResponse:
    """Return the error form. `detail` and `params` are left out if there are none, as documented."""
    body = ErrorBody(error=error, detail=detail, code=code, params=params or None)
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True), status_code=status, headers=dict(headers or {})
    )


def respond_to(error: ApiError) -> JSONResponse:
    """Return the error form of an error."""
    return respond(error.status, error.code, str(error), error.detail, error.headers, error.params)


def install(app: FastAPI, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Make `app` answer every expected exception with the error body; see also `middleware.UnexpectedErrors`.

    `bounds`: lowest and highest value by field name.
    """

    async def on_api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)  # noqa: S101 - how handlers are registered below
        return respond_to(error)

    async def on_bad_input(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, DiceTalkError)  # noqa: S101
        status = error.code.status or HTTPStatus.BAD_REQUEST
        return respond(status, error.code, str(error), error.detail, params=error.params)

    async def on_invalid_form(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return await on_api_error(request, explain_form(list(error.errors()), bounds))

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"  # see `middleware.HeadAsGet`
        hints = {
            404: "See /docs for what there is.",
            405: f"Allowed: {headers.get('Allow', 'see /docs')}",
        }
        status = error.status_code
        return respond(status, code_of(status), str(error.detail), hints.get(status), headers)

    async def on_os_error(request: Request, error: Exception) -> JSONResponse:
        if no_room(error):
            log.error("%s %s: %s", request.method, request.url.path, error)
            return respond_to(
                Unavailable(ErrorCode.DISK_FULL, "The server has no room to store this", "Try again later.", LATER)
            )
        raise error

    async def on_store_failure(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s: the database failed: %s", request.method, request.url.path, error)
        words = "The server's database does not answer"
        return respond_to(Unavailable(ErrorCode.DATABASE_UNAVAILABLE, words, "Try again later.", LATER))

    async def on_storage_failure(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s: the storage failed", request.method, request.url.path)
        words = "The server's storage of files does not answer"
        return respond_to(Unavailable(ErrorCode.STORAGE_UNAVAILABLE, words, "Try again later.", LATER))

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(DiceTalkError, on_bad_input)
    app.add_exception_handler(RequestValidationError, on_invalid_form)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(OSError, on_os_error)
    app.add_exception_handler(StorageFailure, on_storage_failure)
    app.add_exception_handler(StoreFailure, on_store_failure)
