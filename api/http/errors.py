"""Turns every exception into the one body that errors have: `{"error": ..., "detail": ...}`."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.errors import ApiError, InvalidValue, MalformedForm
from api.tasks.store import StoreFailure
from dice_talk.errors import DiceTalkError, no_room

log = logging.getLogger(__name__)


class ErrorBody(BaseModel):
    """Body of every error."""

    error: str = Field(description="What was wrong.", examples=["Task not found"])
    detail: str | None = Field(None, description="What is allowed, or what to do.")


RANGE_ERRORS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
"""What pydantic calls a number that is one, but out of its bounds."""


def explain_form(errors: list[Any], bounds: Mapping[str, tuple[float, float]]) -> ApiError:
    """One error for all that is wrong with a form: 422 where a field is not what it must be, else 400 for a range."""
    malformed = [_explain_field(error) for error in errors if error["type"] not in RANGE_ERRORS]
    if malformed:
        return MalformedForm("; ".join(malformed), _types_hint(errors))
    found = []
    for error in errors:
        name = _name_of(error)
        low, high = bounds[name]
        found.append(f"{name} must be between {low:g} and {high:.10g}, got {str(error['input'])[:30]}")
    return InvalidValue("; ".join(found))


def _name_of(error: Mapping[str, Any]) -> str:
    """Of the field, without its place in a list."""
    return str(next((part for part in reversed(error["loc"]) if isinstance(part, str)), "body"))


def _explain_field(error: Mapping[str, Any]) -> str:
    name = _name_of(error)
    words = {
        "missing": f"{name} is required",
        "extra_forbidden": f"Unknown form field: {name}",
        "enum": f"{name} is not one of the known values",
        "literal_error": f"{name} is not one of the known values",
        "bool_parsing": f"{name} must be true, false, 1 or 0",
        "int_parsing": f"{name} must be a whole number",
        "int_from_float": f"{name} must be a whole number",
        "float_parsing": f"{name} must be a number",
        "finite_number": f"{name} must be a number, not infinity or NaN",
    }
    return words.get(error["type"], f"{name} is not valid: {error['msg']}")[:300]


def _types_hint(errors: list[Any]) -> str | None:
    """The allowed values, where they are a list."""
    hints = [
        f"{_name_of(error)}: {error['ctx']['expected']}" for error in errors if error.get("ctx", {}).get("expected")
    ]
    return "Allowed: " + "; ".join(hints) if hints else None


NAMES = {416: "Requested Range Not Satisfiable"}
"""Of statuses whose own name depends on the Python, and whose responses say nothing else."""


def name_of(status: int) -> str:
    """What a response without words says."""
    return NAMES.get(status) or HTTPStatus(status).phrase


def respond(
    status: int, error: str, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The error form. `detail` is left out where there is none, as documented."""
    body = ErrorBody(error=error, detail=detail).model_dump(exclude_none=True)
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def install(app: FastAPI, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Makes `app` answer every exception that is foreseen in the error form; see also `middleware.UnexpectedErrors`.

    `bounds`: lowest and highest value by field name.
    """

    async def on_api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)  # noqa: S101 - how handlers are registered below
        return respond(error.status, str(error), error.detail, error.headers)

    async def on_bad_input(request: Request, error: Exception) -> JSONResponse:
        return respond(HTTPStatus.BAD_REQUEST, str(error), getattr(error, "detail", None))

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
        return respond(error.status_code, str(error.detail), hints.get(error.status_code), headers)

    async def on_os_error(request: Request, error: Exception) -> JSONResponse:
        if no_room(error):
            log.error("%s %s: %s", request.method, request.url.path, error)
            return respond(503, "The server has no room to store this", "Try again later.", {"Retry-After": "60"})
        raise error

    async def on_store_failure(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s: the database failed: %s", request.method, request.url.path, error)
        return respond(503, "The server's database does not answer", "Try again later.", {"Retry-After": "60"})

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(DiceTalkError, on_bad_input)
    app.add_exception_handler(RequestValidationError, on_invalid_form)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(OSError, on_os_error)
    app.add_exception_handler(StoreFailure, on_store_failure)
