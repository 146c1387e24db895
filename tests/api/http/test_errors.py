"""Every exception becomes the one body that errors have."""

import errno
import json
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from api.errors import ApiError, InvalidValue, MalformedForm, QueueFull
from api.http import errors
from api.http.errors import explain_form, name_of, respond
from api.storage.files import StorageFailure
from dice_talk.emotions import Emotion
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage
from dice_talk.options import Flag
from tests.api.asgi import Answer, call

BOUNDS = {"fps": (8, 60), "scale": (0.0, 10.0), "seed": (0, 2**31 - 1)}


class Form(BaseModel):
    model_config = {"extra": "forbid"}

    emotion: Emotion
    fps: int = Field(24, ge=8, le=60)
    scale: float = Field(3.0, ge=0, le=10, allow_inf_nan=False)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    crop: Flag = False
    states: list[Emotion] = []


def explained(**fields: Any) -> ApiError:
    with pytest.raises(ValidationError) as wrong:
        Form.model_validate({"emotion": "sad", **fields})
    return explain_form(wrong.value.errors(), BOUNDS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fps": 61}, "fps must be between 8 and 60, got 61"),
        ({"fps": "7"}, "fps must be between 8 and 60, got 7"),
        ({"scale": -0.5}, "scale must be between 0 and 10, got -0.5"),
        ({"seed": 2**31}, "seed must be between 0 and 2147483647, got 2147483648"),
        (
            {"seed": -1, "fps": 99},
            "fps must be between 8 and 60, got 99; seed must be between 0 and 2147483647, got -1",
        ),
        ({"fps": "9" * 100}, f"fps must be between 8 and 60, got {'9' * 30}"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], message: str) -> None:
    error = explained(**fields)
    assert (type(error), str(error), error.detail) == (InvalidValue, message, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fps": "x"}, "fps must be a whole number"),
        ({"fps": 1.5}, "fps must be a whole number"),
        ({"scale": "x"}, "scale must be a number"),
        ({"scale": "inf"}, "scale must be a number, not infinity or NaN"),
        ({"crop": "yes"}, "crop must be true, false, 1 or 0"),
        ({"colour": "red"}, "Unknown form field: colour"),
        ({"fps": 61, "scale": "x"}, "scale must be a number"),
        ({"fps": "x", "scale": "y"}, "fps must be a whole number; scale must be a number"),
    ],
)
def test_fields_that_are_not_what_they_must_be(fields: dict[str, Any], message: str) -> None:
    error = explained(**fields)
    assert (type(error), str(error), error.detail) == (MalformedForm, message, None)


def test_what_is_allowed_is_told_where_it_is_a_list() -> None:
    error = explained(emotion="bored", states=["sad", "odd"])
    assert str(error) == "emotion is not one of the known values; states is not one of the known values"
    assert error.detail and error.detail.startswith("Allowed for emotion: contempt, sad, happy, ")
    assert "; for states: contempt" in error.detail


def test_what_is_missing() -> None:
    with pytest.raises(ValidationError) as wrong:
        Form.model_validate({})
    error = explain_form(wrong.value.errors(), BOUNDS)
    assert str(error) == "emotion is required"
    assert error.detail and error.detail.startswith("Allowed for emotion: contempt, sad, ")
    assert "fear or neutral. Send emotion; /docs" in error.detail


def test_other_mistakes_are_told_shortly() -> None:
    error = explain_form([{"type": "other", "loc": ("body", "image"), "msg": "x" * 999}], BOUNDS)
    assert str(error).startswith("image is not valid: xxx")
    assert len(str(error)) == len("image is not valid: ") + 200
    assert str(explain_form([{"type": "other", "loc": (0,), "msg": "no"}], BOUNDS)) == "body is not valid: no"


def said(answer: Answer) -> tuple[str, str | None]:
    body = answer.json()
    return body["error"], body.get("detail")


def test_a_detail_is_left_out_where_there_is_none() -> None:
    assert b"detail" not in respond(400, ErrorCode.FORM_DAMAGED, "wrong").body
    answer = respond(400, ErrorCode.FORM_DAMAGED, "wrong", "do this", {"Retry-After": "30"})
    assert json.loads(bytes(answer.body)).items() >= {"error": "wrong", "detail": "do this"}.items()
    assert answer.headers["retry-after"] == "30"


def test_names_of_statuses() -> None:
    assert [name_of(status) for status in (404, 416, 500)] == [
        "Not Found",
        "Requested Range Not Satisfiable",
        "Internal Server Error",
    ]


def raising(error: BaseException) -> Answer:
    """The answer of an app whose only route raises that."""
    app = FastAPI()

    @app.get("/")
    def fail(fps: int = Query(24, ge=8)) -> None:
        raise error

    errors.install(app, BOUNDS)
    return call(app, "GET", "/")


@pytest.mark.parametrize("code", [code for code in ErrorCode if code.status])
def test_every_code_is_answered_with_its_status(code: ErrorCode) -> None:
    answer = raising(ApiError(code, "words"))
    assert (answer.status, answer.json()["code"]) == (code.status, code.value)


def test_details_and_headers_are_sent_too() -> None:
    answer = raising(QueueFull(ErrorCode.QUEUE_FULL, "Full", "Later.", {"Retry-After": "30"}))
    assert (said(answer), answer.headers["retry-after"]) == (("Full", "Later."), "30")


def test_inputs_that_cannot_be_used() -> None:
    answer = raising(InvalidImage(ErrorCode.IMAGE_DAMAGED, "No image", "Send one."))
    assert (answer.status, said(answer)) == (400, ("No image", "Send one."))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk(code: int, caplog: pytest.LogCaptureFixture) -> None:
    answer = raising(OSError(code, "no room", "/secret/path"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert answer.json()["error"] == "The server has no room to store this"
    assert "/secret/path" not in answer.body.decode()
    assert "/secret/path" in caplog.text


def test_storage_that_does_not_answer() -> None:
    answer = raising(StorageFailure())
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert answer.json()["code"] == "storage_unavailable"


def test_other_failures_of_the_system_are_not_foreseen() -> None:
    with pytest.raises(PermissionError):
        raising(PermissionError(errno.EACCES, "no"))


def test_a_database_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    answer = raising(sa.exc.OperationalError("SELECT secret", {}, Exception("disk I/O error")))
    assert (answer.status, answer.json()["error"]) == (503, "The server's database does not answer")
    assert "secret" not in answer.body.decode()
    assert "GET /: the database failed" in caplog.text


def test_the_frameworks_own_errors() -> None:
    app = FastAPI()
    errors.install(app, BOUNDS)

    @app.get("/there")
    def there(fps: int = Query(24, ge=8)) -> None: ...

    missing, wrong, invalid = call(app, "GET", "/x"), call(app, "POST", "/there"), call(app, "GET", "/there?fps=1")
    assert (missing.status, said(missing)) == (404, ("Not Found", "See /docs for what there is."))
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert said(wrong) == ("Method Not Allowed", "Allowed: GET, HEAD")
    assert (invalid.status, invalid.json()["error"]) == (400, "fps must be between 8 and 60, got 1")


def test_a_form_that_is_refused() -> None:
    refused = RequestValidationError([{"type": "missing", "loc": ("body", "image"), "msg": "", "input": None}])
    answer = raising(refused)
    assert (answer.status, said(answer)) == (
        422,
        ("image is required", "Send image; /docs lists all fields."),
    )
