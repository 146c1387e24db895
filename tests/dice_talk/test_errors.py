"""Expected failures: their sentences, what another process learns of them, and what counts as lack of space."""

import errno
import json
from typing import Any

import cv2
import pytest

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, InvalidImage, file_facts, fill, no_memory, no_room


def test_sentences_are_filled_with_values() -> None:
    error = InvalidImage(ErrorCode.IMAGE_SCANS, "The JPEG has {scans} scans", "At most {most}.", scans=9, most=5)
    assert (str(error), error.detail, error.params) == ("The JPEG has 9 scans", "At most 5.", {"scans": 9, "most": 5})


@pytest.mark.parametrize("template", ["{not a value}", "", None])
def test_sentences_without_values_may_hold_any_characters(template: str | None) -> None:
    assert fill(template, {}) == template
    assert InvalidImage(ErrorCode.IMAGE_DAMAGED, "{", template).detail == template


def test_another_process_learns_everything() -> None:
    error = InvalidImage(ErrorCode.IMAGE_SCANS, "{scans} scans {{}}", None, scans=9)
    facts: dict[str, Any] = json.loads(json.dumps(error.facts()))
    assert facts == {"error": "9 scans {}", "detail": None, "code": "image_scans", "params": {"scans": 9}}
    again = InvalidImage.from_facts(facts)
    assert isinstance(again, InvalidImage) and again.code is ErrorCode.IMAGE_SCANS
    assert again.facts() == facts


def test_a_code_of_another_release_is_unknown() -> None:
    facts: dict[str, Any] = {"error": "It is new", "detail": None, "code": "of_tomorrow", "params": {}}
    assert DiceTalkError.from_facts(facts).code is ErrorCode.UNKNOWN


def test_facts_of_a_file_do_not_tell_its_path() -> None:
    assert file_facts(FileNotFoundError(errno.ENOENT, "No such file or directory", "/secret/place")) == {
        "error": "No such file or directory",
        "detail": None,
        "code": "file_unreadable",
        "params": {},
    }
    assert file_facts(OSError("That does not fit"))["error"] == "That does not fit"


@pytest.mark.parametrize(
    ("error", "room", "memory"),
    [
        (OSError(errno.ENOSPC, "full"), True, False),
        (OSError(errno.EDQUOT, "quota"), True, False),
        (OSError(errno.EROFS, "read-only"), True, False),
        (OSError(errno.EACCES, "denied"), False, False),
        (OSError(errno.ENOMEM, "memory"), False, True),
        (MemoryError(), False, True),
        (type("OutOfMemoryError", (RuntimeError,), {})(), False, True),
        (RuntimeError("shapes differ"), False, False),
        (KeyboardInterrupt(), False, False),
    ],
    ids=str,
)
def test_lack_of_space(error: BaseException, room: bool, memory: bool) -> None:
    assert (no_room(error), no_memory(error)) == (room, memory)


@pytest.mark.parametrize(("code", "memory"), [(-4, True), (-5, False)])
def test_opencv_has_a_code_for_lack_of_memory(code: int, memory: bool) -> None:
    error = cv2.error("it failed")
    error.code = code
    assert no_memory(error) is memory
    other = ValueError("it failed")
    other.code = code  # type: ignore[attr-defined]
    assert not no_memory(other), "the same code means something else elsewhere"
