"""What every error has: a code that fits its status, and the values that the code promises."""

from collections.abc import Mapping
from typing import Any

from dice_talk.error_codes import ErrorCode


def check_error(body: Mapping[str, Any], status: int) -> ErrorCode:
    assert {"error", "code"} <= set(body) <= {"error", "detail", "code", "params"}, body
    code = ErrorCode.known(body["code"])
    assert code is not ErrorCode.UNKNOWN, body
    assert code.status == status, body
    assert set(body.get("params", ())) == set(code.params), body
    assert not [name for name in code.params if f"{{{name}" in body["error"] + body.get("detail", "")], body
    return code
