"""Results and errors of odd engines. As a worker tells them: tests/dice_talk/test_cleaning.py."""

import json
from typing import Any

import numpy as np
import pytest

from dice_talk.engine import RenderResult
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import RenderFailed
from dice_talk.outcomes import clean_error, clean_result


def result(**changed: Any) -> RenderResult:
    usual: dict[str, Any] = {"width": 256, "height": 192, "fps": 24, "frames": 12, "seconds": 0.5, "versions": {}}
    return RenderResult(**usual | changed)


def test_numbers_of_other_kinds_become_plain() -> None:
    odd = result(
        width=np.int64(256), seconds=np.float32(0.5), versions={"one": 1, "n" * 99: "v" * 999}, notes=["a\0", *range(9)]
    )
    assert json.loads(json.dumps(clean_result(odd))) == {
        "width": 256,
        "height": 192,
        "fps": 24,
        "frames": 12,
        "seconds": 0.5,
        "versions": {"one": "1", "n" * 32: "v" * 400},
        "notes": ["a?", "0", "1", "2", "3"],
    }


@pytest.mark.parametrize("changed", [{"seconds": float("nan")}, {"frames": None}, {"width": "wide"}])
def test_what_is_no_number_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        clean_result(result(**changed))


def test_errors_of_odd_types() -> None:
    error = RenderFailed(ErrorCode.NO_FACE, "At {place}", "Here", place={1, 2})
    assert clean_error(error) == {
        "error": "At {1, 2}",
        "detail": "Here",
        "code": "no_face",
        "params": {"place": "{1, 2}"},
    }
    error.code = error.params = error.detail = 7  # type: ignore[assignment]
    assert clean_error(error) == {"error": "At {1, 2}", "detail": "7", "code": "render_failed", "params": {}}
