"""Tasks in the words of the API, in every state."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from api.schemas.tasks import SecondsRange, TaskState
from api.service.describe import describe_span, describe_task, describe_warnings
from api.tasks.cache import TaskSnapshot
from api.tasks.forecast import Forecast, Span, Timing, Workload
from api.tasks.model import TaskStatus
from dice_talk.labels import LabelOptions
from tests.api.made import NOW, make_render, make_task

LATER = NOW + timedelta(seconds=12.34)


def described(ahead: int = 0, forecast: Forecast | None = None, **render: Any) -> TaskState:
    snapshot = TaskSnapshot(make_task(render=make_render(**render)), ahead)
    return describe_task(snapshot, forecast or Forecast(), LATER, Path("/nonexistent"))


def test_a_task_that_waits() -> None:
    state = described(ahead=2)
    assert (state.task_id, state.status, state.progress) == ("a", TaskStatus.PENDING, 0.0)
    assert (state.queue_position, state.message) == (3, "Waiting in queue (position 3)")
    assert (state.stage, state.step, state.steps, state.frame, state.frames) == ("queued", None, None, None, None)
    assert (state.elapsed_seconds, state.attempts, state.eta_seconds) == (0.0, 0, None)
    assert (state.engine, state.seed, state.duration, state.weights) == ("lite", 5, 1.0, None)
    assert (state.created_at, state.updated_at) == (NOW, NOW)
    assert not state.cancelled
    assert not state.ended


RUNNING: dict[str, Any] = {"status": TaskStatus.PROCESSING, "attempts": 1, "started_at": NOW}


def test_a_task_in_work() -> None:
    state = described(**RUNNING, progress=0.123456, message="Generating video...", stage="render", step=3, steps=24)
    assert (state.progress, state.message, state.queue_position) == (0.1235, "Generating video...", None)
    assert (state.step, state.steps, state.frame, state.frames) == (3, 24, 3, 24)
    assert (state.elapsed_seconds, state.attempts) == (12.3, 1)


def test_only_drawing_has_frames_and_only_what_counts_has_steps() -> None:
    listening = described(**RUNNING, stage="listen", step=1, steps=2)
    assert (listening.step, listening.steps, listening.frame, listening.frames) == (1, 2, None, None)
    loading = described(**RUNNING, stage="render", step=0, steps=0)
    assert (loading.step, loading.steps, loading.frame) == (None, None, None)
    begun = described(**RUNNING, stage="render", step=0, steps=24)
    assert (begun.step, begun.frame) == (0, 0)
    finished = described(status=TaskStatus.COMPLETED, stage="render", step=24, steps=24, finished_at=NOW)
    assert (finished.step, finished.frame) == (None, None)


def test_a_finished_task() -> None:
    end = NOW + timedelta(seconds=2.04)
    state = described(status=TaskStatus.COMPLETED, progress=1.0, attempts=2, started_at=NOW, finished_at=end)
    assert (state.elapsed_seconds, state.attempts, state.eta_seconds, state.ended) == (2.0, 2, None, True)


def test_a_failed_task_says_what_to_try() -> None:
    state = described(status=TaskStatus.FAILED, message="No face was found", detail="Send another.", finished_at=NOW)
    assert (state.message, state.detail, state.ended, state.cancelled) == (
        "No face was found",
        "Send another.",
        True,
        False,
    )


def test_a_cancelled_task() -> None:
    task = make_task(cancelled_at=NOW).as_seen_by_client()
    state = describe_task(TaskSnapshot(task, 0), Forecast(), LATER, Path("/nonexistent"))
    assert (state.status, state.message, state.stage, state.cancelled) == ("FAILED", "Cancelled", "cancelled", True)
    assert (state.queue_position, state.elapsed_seconds) == (None, 0.0)


def test_time_never_runs_backwards() -> None:
    state = described(**{**RUNNING, "started_at": LATER + timedelta(seconds=5)})
    assert state.elapsed_seconds == 0.0


def test_how_long_it_takes_is_told_until_it_has_ended() -> None:
    forecast, render = Forecast(), make_render()
    past = [Timing(Workload.of_render(render), 4.0)] * 20
    forecast.renew([render], past, 1, LATER)
    assert described(forecast=forecast).eta_seconds == SecondsRange(low=4.0, high=4.0)
    assert described(forecast=forecast, status=TaskStatus.COMPLETED, finished_at=NOW).eta_seconds is None


def test_a_forecast_in_tenths() -> None:
    assert describe_span(Span(1.04, 2.06)) == SecondsRange(low=1.0, high=2.1)
    assert describe_span(None) is None


def test_warnings_and_the_label() -> None:
    warning = {"code": "silent_audio", "message": "Nothing is heard.", "blocking": False}
    (found,) = describe_warnings(make_task(warnings=[warning]))
    assert found.model_dump() == warning
    assert described().visible_label is None
    labels = LabelOptions(visible_label="always", visible_label_text="zh")
    assert described(labels=labels).visible_label == "AI生成"
