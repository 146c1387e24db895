"""Cursors: opaque strings that mark the end of a page of tasks."""

import base64
import binascii
from datetime import datetime

from api.errors import InvalidValue
from api.tasks.model import Task
from dice_talk.error_codes import ErrorCode

Place = tuple[datetime, str]
"""A task's time of creation and id."""


def encode_cursor(task: Task) -> str:
    """Return a cursor for the tasks after that one."""
    return base64.urlsafe_b64encode(f"{task.created_at.isoformat()} {task.id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Place:
    """Return what `encode_cursor` encoded. Raises `InvalidValue`."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        born, _, task_id = text.partition(" ")
        time = datetime.fromisoformat(born)
        if time.tzinfo or not task_id:
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise InvalidValue(
            ErrorCode.CURSOR_INVALID, "The cursor is not one of this server", "Send next_cursor as it was given."
        ) from error
    return time, task_id
