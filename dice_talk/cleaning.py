"""What engines say, made fit for JSON, for lines of limited length and for every database."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from dice_talk.engine import Progress
from dice_talk.error_codes import ErrorCode

MOST_CHARACTERS, MOST_PARAMS, MOST_STEPS = 1000, 30, 2**31 - 1
MOST_IN_NAME, MOST_IN_VALUE, MOST_NOTES = 32, 400, 5
"""Limits on what an engine says: the service reads lines of 64 KiB at most, and its database has limits of its own."""
MOST_IN_PREVIEW = 24 * 1024
"""Bytes of a JPEG; base64 makes a third more of them."""
_JPEG = b"\xff\xd8\xff"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def clean_text(value: object, most: int = MOST_CHARACTERS) -> str:
    """Return a text that every database takes: not long, without control characters and lone surrogates."""
    return _CONTROL.sub("?", str(value)[:most]).encode(errors="replace").decode()


def clean_progress(progress: Progress) -> Progress:
    """Return progress as it is defined, whatever an engine has put into it."""
    return Progress(
        stage=clean_text(progress.stage, MOST_IN_NAME),
        message=clean_text(progress.message),
        fraction=_number(progress.fraction, 1),
        step=int(_number(progress.step, MOST_STEPS)),
        steps=int(_number(progress.steps, MOST_STEPS)),
        preview=_clean_preview(progress.preview),
    )


def clean_failure(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `DiceTalkError.facts` that JSON can hold, with a code that a task can fail with."""
    code, message, detail = ErrorCode.known(facts.get("code")), facts.get("error"), facts.get("detail")
    params = facts.get("params")
    items = islice(params.items(), MOST_PARAMS) if isinstance(params, Mapping) else ()
    return {
        "error": "The engine gave no reason" if message is None else clean_text(message),
        "detail": None if detail is None else clean_text(detail),
        "code": (code if code.of_engines else ErrorCode.RENDER_FAILED).value,
        "params": {clean_text(name, MOST_IN_NAME): _clean_value(value) for name, value in items},
    }


def _clean_preview(preview: object) -> bytes | None:
    """Return a picture that is a JPEG and not large; None for anything else."""
    small = isinstance(preview, bytes) and len(preview) <= MOST_IN_PREVIEW and preview.startswith(_JPEG)
    return preview if small and isinstance(preview, bytes) else None


def _number(value: Any, most: int) -> float:
    """Return a number from 0 to `most`; 0 for what is no number."""
    try:
        return min(max(0.0, float(value)), most) if value == value else 0.0
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _clean_value(value: object) -> object:
    """Return a value as it is if JSON can hold it and it is not long, else as a text."""
    with suppress(TypeError, ValueError, RecursionError):
        if len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) <= 4 * MOST_IN_VALUE:
            return value
    return clean_text(value, MOST_IN_VALUE)
