"""What a render ends with, a result or an error, made fit for JSON whatever an engine has put into it."""

import math
from itertools import islice
from typing import Any

from dice_talk.cleaning import MOST_IN_NAME, MOST_IN_VALUE, MOST_NOTES, MOST_PARAMS, clean_failure, clean_text
from dice_talk.engine import RenderResult
from dice_talk.errors import DiceTalkError


def clean_result(result: RenderResult) -> dict[str, Any]:
    """Return a result that JSON can hold. Raises `ValueError` or `TypeError` if its numbers are none."""
    if not math.isfinite(seconds := float(result.seconds)):
        raise ValueError("seconds is not finite")
    counts = {name: int(getattr(result, name)) for name in ("width", "height", "fps", "frames")}
    versions = {
        clean_text(name, MOST_IN_NAME): clean_text(value, MOST_IN_VALUE)
        for name, value in islice(result.versions.items(), MOST_PARAMS)
    }
    notes = [clean_text(note, MOST_IN_VALUE) for note in islice(result.notes, MOST_NOTES)]
    return {**counts, "seconds": seconds, "versions": versions, "notes": notes}


def clean_error(error: DiceTalkError) -> dict[str, Any]:
    """Return `clean_failure` of an error, which an engine may have made without regard to its types."""
    message = None if error.args[:1] == (None,) else str(error)
    facts = {name: getattr(error, name, None) for name in ("code", "detail", "params")}
    return clean_failure({"error": message, **facts})
