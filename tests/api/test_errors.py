"""The errors of the service itself."""

import pytest

from api import errors
from api.errors import ApiError, PreconditionFailed, TaskNotFound
from dice_talk.error_codes import ErrorCode

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)]


def test_an_error_says_what_was_wrong_and_what_to_do() -> None:
    code = ErrorCode.NOT_READY
    error = ApiError(code, "It broke", "Try again.", {"Retry-After": "30"})
    assert (str(error), error.detail, error.headers) == ("It broke", "Try again.", {"Retry-After": "30"})
    assert (ApiError(code, "It broke").detail, ApiError(code, "It broke").headers) == (None, None)


def test_the_code_decides_the_status() -> None:
    assert [ApiError(code, "words").status for code in (ErrorCode.TASK_NOT_FOUND, ErrorCode.QUEUE_FULL)] == [404, 503]
    assert ApiError(ErrorCode.RENDER_FAILED, "words").status == 500, "a code without a status"


def test_values_are_filled_in() -> None:
    error = ApiError(ErrorCode.QUEUE_FULL, "Full", "At most {most} may wait.", None, most=100)
    assert (error.detail, error.params) == ("At most 100 may wait.", {"most": 100})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_words_of_its_own(kind: type[ApiError]) -> None:
    assert (kind.__doc__ and kind.__doc__ != ApiError.__doc__) or kind is ApiError


def test_some_say_the_same_each_time() -> None:
    assert str(TaskNotFound()) == "Task not found"
    assert PreconditionFailed("Another version").detail == "Download it anew, without the condition."
