"""Exit codes: which errors mean that the same command may work later, or elsewhere."""

import pytest

from dice_talk.cli import codes
from dice_talk.client import KeyRefused, Refused, ServerBusy, ServerUnreachable, TaskNotFound
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable, InvalidImage, RenderFailed

SAID = ErrorCode.UNKNOWN, "Something is wrong"


@pytest.mark.parametrize(
    "error",
    [
        EngineUnavailable(*SAID),
        ServerUnreachable(*SAID),
        KeyRefused(401, *SAID, None),
        ServerBusy(503, *SAID, None),
    ],
    ids=lambda error: type(error).__name__,
)
def test_not_there(error: Exception) -> None:
    assert codes.code_of(error) == codes.NOT_THERE == 3


@pytest.mark.parametrize(
    "error",
    [
        InvalidImage(*SAID),
        RenderFailed(*SAID),
        Refused(400, *SAID, None),
        TaskNotFound(404, *SAID, None),
        FileNotFoundError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_all_other_errors_are_failures(error: Exception) -> None:
    assert codes.code_of(error) == codes.FAILED == 1
