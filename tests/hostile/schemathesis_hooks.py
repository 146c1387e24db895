"""Loaded by schemathesis: files that it makes up become real ones about every other time, so that tasks are made."""

from typing import Any

import schemathesis

from tests.hostile.samples import pictures, sound

FILES = {"image": pictures()["RGB PNG"], "audio": sound()}

NOBODY = "http://callbacks.invalid/"
"""A test must not send anything to addresses that it made up."""


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and "callback_url" in body:
        body["callback_url"] = NOBODY
    if isinstance(body, dict) and len(str(body.get("image"))) % 2:
        return {name: FILES.get(name, value) for name, value in body.items()}
    return body
