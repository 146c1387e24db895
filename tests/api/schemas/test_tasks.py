"""Tasks as clients see them."""

from datetime import datetime

import pytest

from api.schemas.tasks import TaskState
from api.tasks.model import FINAL, TaskStatus


def state(**changes: object) -> TaskState:
    fields: dict[str, object] = {
        "task_id": "a",
        "progress": 0.5,
        "message": "x",
        "stage": "render",
        "engine": "lite",
        "seed": 1,
    }
    fields |= {"duration": 1.0, "elapsed_seconds": 1.0, "attempts": 1, "status": "PROCESSING", "weights": None}
    born = datetime(2030, 1, 1, 12, 0, 0, 987_654)
    return TaskState.model_validate({**fields, "created_at": born, "updated_at": born, **changes})


def test_times_are_told_to_the_second_without_a_zone() -> None:
    told = state().model_dump(mode="json")
    assert (told["created_at"], told["updated_at"]) == ("2030-01-01T12:00:00", "2030-01-01T12:00:00")
    assert TaskState.model_json_schema()["properties"]["created_at"]["type"] == "string"


@pytest.mark.parametrize("status", TaskStatus)
def test_whether_it_has_ended(status: TaskStatus) -> None:
    assert state(status=status).ended == (status in FINAL)
