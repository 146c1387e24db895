"""Describes tasks in the words of the API."""

from datetime import datetime, timedelta
from pathlib import Path

from api.schemas.tasks import InputWarning, SecondsRange, TaskState
from api.tasks.cache import TaskSnapshot
from api.tasks.forecast import Forecast, Span
from api.tasks.model import FINAL, Task, TaskStatus
from dice_talk.engines import weights_of
from dice_talk.error_codes import ErrorCode


def describe_task(snapshot: TaskSnapshot, forecast: Forecast, now: datetime, checkpoints: Path) -> TaskState:
    """Return a task's state. `snapshot`: as its client sees it."""
    task, render = snapshot.task, snapshot.task.render
    position, message, eta = None, task.message, None
    if render.status is TaskStatus.PENDING:
        position = snapshot.ahead + 1
        message = f"{message} (position {position})"
    if render.status not in FINAL:
        eta = forecast.find(render.id, now)
    elapsed = ((task.finished_at or now) - task.started_at) if task.started_at else timedelta()
    counts = render.status is TaskStatus.PROCESSING and render.steps > 0
    draws = counts and render.stage == "render"
    return TaskState(
        task_id=task.id,
        status=render.status,
        progress=round(render.progress, 4),
        message=message,
        created_at=task.created_at,
        updated_at=task.updated_at,
        detail=render.detail,
        error_code=ErrorCode.known(render.error_code) if render.error_code else None,
        error_params=render.error_params,
        stage=render.stage,
        queue_position=position,
        engine=render.engine,
        weights=weights_of(render.engine, checkpoints),
        seed=render.options.seed or 0,
        duration=round(render.seconds, 3),
        elapsed_seconds=round(max(0.0, elapsed.total_seconds()), 1),
        attempts=task.attempts,
        step=render.step if counts else None,
        steps=render.steps if counts else None,
        frame=render.step if draws else None,
        frames=render.steps if draws else None,
        eta_seconds=describe_span(eta),
        cancelled=task.cancelled_at is not None,
        warnings=describe_warnings(task),
        visible_label=render.labels.words,
    )


def describe_span(span: Span | None) -> SecondsRange | None:
    """Return a forecast in tenths of a second."""
    return SecondsRange(low=round(span.low, 1), high=round(span.high, 1)) if span else None


def describe_warnings(task: Task) -> list[InputWarning]:
    """Return what to know about the files that were sent."""
    return [InputWarning(**warning) for warning in task.warnings]
