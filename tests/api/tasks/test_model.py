"""Tasks as claims on renders, and what makes two requests equal."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.tasks.model import CANCELLED, FINAL, LEGAL, WAITING, Render, Task, TaskStatus, cache_key, request_hash
from dice_talk.labels import LabelOptions
from dice_talk.options import RenderOptions
from tests.api.made import NOW, make_render, make_task

BORN = datetime(2024, 1, 2)
OPTIONS = RenderOptions(emotion="sad", seed=5)


def test_from_every_state_there_is_a_way_to_each_end_and_none_back() -> None:
    assert LEGAL.keys() == set(TaskStatus)
    assert {TaskStatus.COMPLETED, TaskStatus.FAILED} == FINAL
    assert TaskStatus.COMPLETED not in LEGAL[TaskStatus.PENDING], "nothing is finished that never began"
    for status, following in LEGAL.items():
        assert (status in FINAL) == (following == set())
        assert status in FINAL or TaskStatus.FAILED in following


def test_a_task_that_was_not_cancelled_is_seen_as_it_is() -> None:
    task = make_task()
    assert task.as_seen_by_client() is task


def test_a_cancelled_task_has_ended_whatever_becomes_of_its_render() -> None:
    end = NOW + timedelta(seconds=9)
    render = make_render(status=TaskStatus.COMPLETED, progress=1.0, attempts=2, step=3, steps=4, started_at=NOW)
    begun: dict[str, Any] = {"cancelled_progress": 0.25, "cancelled_attempts": 1, "cancelled_started_at": NOW}
    seen = make_task(render=render, cancelled_at=end, **begun).as_seen_by_client()
    assert {name: getattr(seen.render, name) for name in CANCELLED} == CANCELLED
    assert (seen.render.progress, seen.attempts, seen.started_at) == (0.25, 1, NOW)
    assert (seen.finished_at, seen.updated_at, seen.cancelled_at) == (end, end, end)


def test_what_a_task_says_of_a_render_of_its_own() -> None:
    later = NOW + timedelta(seconds=5)
    waits = make_task()
    assert (waits.attempts, waits.started_at, waits.finished_at, waits.message) == (0, None, None, WAITING)
    again = make_task(render=make_render(attempts=1, started_at=NOW, updated_at=later, message="Waiting again"))
    assert (again.attempts, again.started_at, again.updated_at, again.message) == (1, NOW, later, "Waiting again")


def claim(**render: Any) -> Task:
    """A task that joined a render of the day before, as it is then."""
    before = BORN - timedelta(days=1)
    old = Render("old", RenderOptions(emotion="sad", seed=5), "lite", "key", 1.0, before, before)
    new = replace(old, id="new", created_at=BORN, updated_at=BORN)
    return Task("new", BORN, new).joining(replace(old, **render))


def later(task: Task, **render: Any) -> Task:
    return replace(task, render=replace(task.render, **render))


def test_joining_a_render_that_waits_again() -> None:
    """Its first attempt was lost before."""
    before, after = BORN - timedelta(hours=1), BORN + timedelta(hours=1)
    task = claim(attempts=1, started_at=before, updated_at=before, message="Waiting for another attempt: it crashed")
    assert (task.attempts, task.started_at, task.updated_at, task.message) == (0, None, BORN, WAITING)
    task = later(task, status=TaskStatus.PROCESSING, attempts=2, started_at=after, updated_at=after, message="Starting")
    assert (task.attempts, task.started_at, task.updated_at, task.message) == (1, after, after, "Starting")
    task = later(task, status=TaskStatus.PENDING, message="Waiting in queue again after a restart", attempts=1)
    assert (task.attempts, task.started_at, task.message) == (0, None, "Waiting in queue again after a restart")


def test_joining_a_render_in_work() -> None:
    before, after = BORN - timedelta(hours=1), BORN + timedelta(hours=1)
    task = claim(status=TaskStatus.PROCESSING, attempts=3, started_at=before, updated_at=before)
    assert (task.attempts, task.started_at, task.finished_at, task.updated_at) == (1, BORN, None, BORN)
    task = later(task, status=TaskStatus.COMPLETED, finished_at=after, updated_at=after)
    assert (task.attempts, task.started_at, task.finished_at, task.updated_at) == (1, BORN, after, after)


@pytest.mark.parametrize("attempts", [1, 2])
def test_joining_a_finished_render(attempts: int) -> None:
    before = BORN - timedelta(hours=1)
    ended: dict[str, Any] = {"status": TaskStatus.COMPLETED, "message": "Completed", "finished_at": before}
    task = claim(attempts=attempts, started_at=before, updated_at=before, **ended)
    assert (task.attempts, task.started_at, task.finished_at, task.message) == (1, BORN, BORN, "Completed")


def key(**changes: Any) -> str:
    same: dict[str, Any] = {
        "image_hash": "image",
        "audio_hash": "audio",
        "options": OPTIONS,
        "engine": "lite",
        "fingerprint": "1",
        "labels": LabelOptions(),
    }
    return cache_key(**{**same, **changes})


def test_whatever_may_change_the_video_changes_the_cache_key() -> None:
    shown = LabelOptions(visible_label="always")
    others = [
        key(image_hash="other"),
        key(audio_hash="other"),
        key(image_hash="audio", audio_hash="image"),
        *(key(options=OPTIONS.model_copy(update=change)) for change in ({"seed": 6}, {"fps": 25}, {"crop": True})),
        key(engine="diffusion"),
        key(fingerprint="2"),
        key(labels=LabelOptions(content_producer="Somebody")),
        key(labels=shown),
        key(labels=shown.model_copy(update={"visible_label": "start"})),
        key(labels=shown.model_copy(update={"visible_label_text": "zh"})),
        key(labels=shown.model_copy(update={"visible_label_corner": "top-left"})),
    ]
    assert len({key(), *others}) == len(others) + 1


def test_what_does_not_change_the_video_does_not_change_the_cache_key() -> None:
    unseen = LabelOptions(visible_label_text="zh", visible_label_corner="top-left")
    assert key() == key(labels=unseen), "a label that is not drawn may say what it wants"
    builtin, spelt = (LabelOptions(visible_label="always", visible_label_text=text) for text in ("zh", "AI生成"))
    assert key(labels=builtin) == key(labels=spelt)
    assert len(key()) == 64


def test_requests_are_equal_when_all_that_was_sent_is() -> None:
    same = request_hash("image", "audio", {"emotion": "sad", "fps": 24})
    assert request_hash("image", "audio", {"fps": 24, "emotion": "sad"}) == same
    others = [
        request_hash("other", "audio", {"emotion": "sad", "fps": 24}),
        request_hash("image", "other", {"emotion": "sad", "fps": 24}),
        request_hash("audio", "image", {"emotion": "sad", "fps": 24}),
        request_hash("image", "audio", {"emotion": "sad", "fps": "24"}),
        request_hash("image", "audio", {"emotion": "sad"}),
    ]
    assert len({same, *others}) == 6
