"""The errors of the service itself."""

from http import HTTPStatus

import pytest

from api import errors
from api.errors import ApiError, PreconditionFailed, TaskNotFound

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)]


def test_an_error_says_what_was_wrong_and_what_to_do() -> None:
    error = ApiError("It broke", "Try again.", {"Retry-After": "30"})
    assert (str(error), error.detail, error.headers) == ("It broke", "Try again.", {"Retry-After": "30"})
    assert (ApiError("It broke").detail, ApiError("It broke").headers) == (None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_status_and_words_of_its_own(kind: type[ApiError]) -> None:
    assert kind.status in HTTPStatus
    assert kind.status >= 400
    assert (kind.__doc__ and kind.__doc__ != ApiError.__doc__) or kind is ApiError


def test_some_say_the_same_each_time() -> None:
    assert str(TaskNotFound()) == "Task not found"
    assert PreconditionFailed("Another version").detail == "Download it anew, without the condition."
