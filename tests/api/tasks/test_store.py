"""Tasks and renders in the database, and what is remembered of them."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from api.tasks.forecast import Timing, Workload
from api.tasks.model import LEGAL, Callback, Task, TaskStatus, Unlabelled
from api.tasks.store import MAX_TIMINGS, KeyTaken, StoreFailure, TaskStore, sqlite_url
from dice_talk.labels import LabelOptions
from tests.api.made import NOW, make_render, make_task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dice_talk.db"


@pytest.mark.parametrize("owner", [None, "alice"])
def test_two_tasks_cannot_have_one_key(file: Path, owner: str | None) -> None:
    stores = [TaskStore(sqlite_url(file)) for _ in range(2)]
    first, second, third, other = (
        replace(make_task(name, owner), idempotency_key="k", request_hash="h") for name in "abcd"
    )
    stores[0].add(first)
    with pytest.raises(KeyTaken):
        stores[1].add(second)
    with pytest.raises(KeyTaken):
        stores[1].join(replace(third, render=first.render))
    assert stores[1].snapshot("b") is stores[1].snapshot("c") is None
    assert stores[1].render_ids() == {"a"}, "nor is there half of one"
    stores[1].add(replace(other, owner="bob"))
    stores[1].add(make_task("e", owner))
    stores[1].add(make_task("f", owner))
    assert [stores[0].with_idempotency_key(owner, "k").id, stores[0].with_idempotency_key("bob", "k").id] == ["a", "d"]  # type: ignore[union-attr]
    for store in stores:
        store.close()


def test_only_the_last_timings_are_kept(file: Path) -> None:
    store = TaskStore(sqlite_url(file))
    for seconds in range(MAX_TIMINGS + 5):
        store.add_timing(Timing(Workload("lite", 1, 1, 1), seconds))
    assert [timing.seconds for timing in store.timings()] == list(range(5, MAX_TIMINGS + 5))
    store.close()


def test_what_is_remembered_is_what_is_stored(file: Path) -> None:
    """After every kind of write, memory and database say the same, for each task."""
    store, names = TaskStore(sqlite_url(file)), ["a", "b", "c", "d"]

    def told() -> list[tuple[str, TaskStatus, float, int] | None]:
        fresh = TaskStore(sqlite_url(file))
        answers = []
        for name in names:
            truth, said = fresh.snapshot(name), store.cached_snapshot(name) or store.snapshot(name)
            assert said == truth
            assert store.cached_snapshot(name) == truth
            render = truth and truth.task.render
            answers.append((name, render.status, render.progress, truth.ahead) if truth and render else None)
        fresh.close()
        return answers

    assert told() == [None] * 4
    for name in "abc":
        store.add(make_task(name))
        told()
    store.join(Task("d", NOW, store.snapshot("b").task.render, "alice"))  # type: ignore[union-attr]
    assert [answer and answer[3] for answer in told()] == [0, 1, 2, 1]
    store.update("a", TaskStatus.PROCESSING, updated_at=NOW)
    assert [answer and answer[3] for answer in told()] == [0, 0, 1, 0]
    store.update("a", TaskStatus.PROCESSING, progress=0.5, updated_at=NOW)
    told()
    store.update("a", TaskStatus.PENDING, updated_at=NOW)
    assert [answer and answer[3] for answer in told()] == [0, 1, 2, 1]
    for name in "ab":
        store.update(name, TaskStatus.PROCESSING, updated_at=NOW)
        store.update(name, TaskStatus.COMPLETED, progress=1.0, finished_at=NOW)
        assert not store.update(name, TaskStatus.FAILED), "final"
        told()
    standing = store.snapshot("c")
    assert standing
    store.join(Task("e", NOW, standing.task.render))
    names.append("e")
    told()
    assert store.cancel(standing.task, NOW)
    assert not store.cancel(standing.task, NOW), "once is enough"
    assert [answer and answer[1] for answer in told()][2:] == ["PENDING", "COMPLETED", "PENDING"], "the render goes on"
    assert store.cached_snapshot("c").task.as_seen_by_client().render.status is TaskStatus.FAILED  # type: ignore[union-attr]
    store.remove(standing.task, NOW)
    assert [answer and answer[1] for answer in told()][2:] == [None, "COMPLETED", "PENDING"]
    last = store.snapshot("e")
    assert last
    assert store.cancel(last.task, NOW)
    assert told()[4][1] is TaskStatus.FAILED, "nobody wants it any more"  # type: ignore[index]
    store.purge(NOW + timedelta(days=1), ["a", "b"])
    assert [answer and answer[0] for answer in told()] == [None] * 5
    store.close()


def test_what_was_read_before_a_write_is_not_remembered_after_it(file: Path) -> None:
    store = TaskStore(sqlite_url(file))
    store.add(make_task("a"))
    cache = store._cache
    generation = cache.generation()
    before = store.snapshot("a")
    assert before
    store.update("a", TaskStatus.PROCESSING, updated_at=NOW)
    cache.put(before.task, [1], generation)  # a reader that was held up meanwhile
    assert store.cached_snapshot("a") is None
    store.close()


def test_progress_does_not_go_back_over_attempts(store: TaskStore) -> None:
    render = store.add(make_task("t")).id
    for status, told, kept in (
        (TaskStatus.PROCESSING, 0.7, 0.7),
        (TaskStatus.PENDING, 0.0, 0.7),
        (TaskStatus.PROCESSING, 0.1, 0.7),
        (TaskStatus.COMPLETED, 1.0, 1.0),
    ):
        assert store.update(render, status, progress=told, updated_at=NOW)
        found = store.render(render)
        assert found
        assert (found.status, found.progress) == (status, kept)
    assert not store.update(render, TaskStatus.PROCESSING, progress=0.2, updated_at=NOW), "what is final stays"


def test_a_task_comes_back_as_it_was_stored(store: TaskStore) -> None:
    """Also what is kept as documents."""
    labels = LabelOptions(visible_label="always", content_producer="某某公司")
    result = {"width": 256, "versions": {"python": "3"}}
    render = make_render(labels=labels, result=result, detail="x", step=1, steps=2, finished_at=NOW, cache_key="k" * 64)
    task = make_task(owner="alice", render=render, warnings=[{"code": "silent_audio"}], attempts_before=2)
    number = store.add(task).number
    found = store.snapshot("a")
    assert found
    assert found.task == replace(task, render=replace(render, number=number))
    assert store.render("a") == found.task.render
    assert store.render("b") is None
    assert store.snapshot("b") is None


def test_numbers_are_never_given_twice(store: TaskStore) -> None:
    first = store.add(make_task("a"))
    store.remove(make_task("a"), NOW)
    store.purge(NOW + timedelta(days=1), ["a"])
    assert store.render_ids() == set()
    assert store.add(make_task("b")).number > first.number


def test_pages_hold_an_owners_tasks_newest_first(store: TaskStore) -> None:
    for minute, names in enumerate(("a", "b", "dc", "e")):
        for name in names:
            store.add(make_task(name, created_at=NOW + timedelta(minutes=minute)))
    store.add(make_task("theirs", owner="alice", created_at=NOW))

    def page(limit: int, after: tuple[datetime, str] | None = None) -> list[str]:
        return [snapshot.task.id for snapshot in store.page(None, [], limit, after)]

    assert page(10) == ["e", "d", "c", "b", "a"]
    assert page(2) == ["e", "d"]
    assert page(2, (NOW + timedelta(minutes=2), "d")) == ["c", "b"], "those of the same moment by their id"
    assert page(2, (NOW, "a")) == []
    assert [snapshot.task.id for snapshot in store.page("alice", [], 10, None)] == ["theirs"]
    assert [snapshot.ahead for snapshot in store.page(None, [], 10, None)] == [4, 2, 3, 1, 0]


def test_pages_of_a_state_as_clients_see_it(store: TaskStore) -> None:
    for name in "abc":
        store.add(make_task(name))
    store.update("b", TaskStatus.PROCESSING)
    store.join(make_task("d", render=make_render("a")))
    store.cancel(make_task("d", render=make_render("a")), NOW)

    def page(*statuses: TaskStatus) -> list[str]:
        return sorted(snapshot.task.id for snapshot in store.page(None, statuses, 10, None))

    assert page(TaskStatus.PENDING) == ["a", "c"], "the render of d waits, but d was cancelled"
    assert page(TaskStatus.FAILED) == ["d"]
    assert page(TaskStatus.PENDING, TaskStatus.PROCESSING) == ["a", "b", "c"]


def test_what_can_be_shared(store: TaskStore) -> None:
    assert not store.any_shareable()
    store.add(make_task("unseeded"))
    assert not store.any_shareable()
    for name in "abc":
        store.add(make_task(name, render=make_render(name, cache_key="key")))
    shared = store.shareable("key")
    assert shared and shared.id == "c", "the newest"
    assert store.any_shareable()
    store.update("c", TaskStatus.FAILED)
    shared = store.shareable("key")
    assert shared and shared.id == "b"
    for name in "ab":
        store.update(name, TaskStatus.FAILED)
    assert store.shareable("key") is None
    assert not store.any_shareable()
    assert store.shareable("other") is None


def test_who_waits(store: TaskStore) -> None:
    for name, owner in (("a", "alice"), ("b", "alice"), ("c", "bob"), ("d", None)):
        store.add(make_task(name, owner))
    store.join(make_task("e", "alice", make_render("c")))
    assert (store.waiting_of("alice"), store.waiting_of("bob"), store.waiting_of("eve")) == (3, 1, 0)
    store.update("a", TaskStatus.PROCESSING)
    store.cancel(make_task("e", "alice", make_render("c")), NOW)
    assert store.waiting_of("alice") == 1
    assert [render.id for render in store.unfinished()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("before", TaskStatus)
@pytest.mark.parametrize("after", TaskStatus)
def test_only_legal_moves_are_made(store: TaskStore, before: TaskStatus, after: TaskStatus) -> None:
    render = store.add(make_task(render=make_render(status=before, message="as before"))).id
    assert store.update(render, after, message="as after") == (after in LEGAL[before])
    found = store.render(render)
    assert found
    assert (found.status, found.message) == ((after, "as after") if after in LEGAL[before] else (before, "as before"))
    assert not store.update("unknown", after)


def test_the_hash_of_a_video_outlives_its_tasks(store: TaskStore) -> None:
    for name, hour in (("a", 2), ("b", 1)):
        store.add(make_task(name))
        store.update(name, TaskStatus.PROCESSING)
        finished = NOW + timedelta(hours=hour)
        store.update(name, TaskStatus.COMPLETED, sha256="hash", finished_at=finished)
        assert not store.update(name, TaskStatus.COMPLETED, sha256="other", finished_at=finished)
        store.remove(make_task(name), NOW)
    store.purge(NOW + timedelta(days=9), ["a", "b"])
    assert store.made_at("hash") == NOW + timedelta(hours=1), "when it was first made"
    assert store.made_at("other") is None
    store.forget_labels(made_before=NOW + timedelta(hours=1, minutes=30), asked_before=NOW)
    assert store.made_at("hash") == NOW + timedelta(hours=2)


def test_what_is_too_old(store: TaskStore) -> None:
    """A render goes when it ended before and no later task claims it, or when nobody does."""
    late = NOW + timedelta(hours=1)
    for name in ("old", "claimed", "fresh", "unclaimed", "waiting"):
        store.add(make_task(name))
    for name, finished in (("old", NOW), ("claimed", NOW), ("fresh", late)):
        store.update(name, TaskStatus.PROCESSING)
        store.update(name, TaskStatus.COMPLETED, finished_at=finished)
    store.join(make_task("later", render=make_render("claimed"), created_at=late))
    store.remove(make_task("unclaimed"), late)
    cutoff = NOW + timedelta(minutes=30)
    for moment in (cutoff, late):
        assert sorted(store.expired(moment)) == ["old", "unclaimed"]
    store.purge(cutoff, ["unclaimed"])
    assert store.render_ids() == {"old", "claimed", "fresh", "waiting"}, "its files could not be removed yet"
    assert store.snapshot("old") is store.snapshot("claimed") is None
    assert store.snapshot("later") and store.snapshot("fresh") and store.snapshot("waiting")
    assert store.expired(cutoff) == ["old"]
    store.purge(cutoff, ["old", "claimed"])
    assert store.render_ids() == {"claimed", "fresh", "waiting"}, "what a task claims stays"


def test_callbacks_are_due_once_their_task_has_ended(store: TaskStore) -> None:
    for name in ("a", "b", "c"):
        store.add(make_task(name, "alice", callback_url=f"https://example.org/{name}"))
    store.add(make_task("silent"))
    assert store.callbacks_due(NOW, 9) == []
    store.cancel(make_task("a"), NOW)
    store.update("b", TaskStatus.FAILED)
    assert store.callbacks_due(NOW - timedelta(seconds=1), 9) == []
    due = store.callbacks_due(NOW, 9)
    assert sorted(due, key=lambda one: one.task_id) == [
        Callback(name, "alice", f"https://example.org/{name}", 0) for name in "ab"
    ]
    store.postpone_callback("a", 1, NOW + timedelta(seconds=5))
    assert [one.task_id for one in store.callbacks_due(NOW, 9)] == ["b"]
    later = NOW + timedelta(seconds=5)
    assert [(one.task_id, one.attempts) for one in store.callbacks_due(later, 9)] == [("b", 0), ("a", 1)]
    assert [one.task_id for one in store.callbacks_due(later, 1)] == ["b"], "what was tried least comes first"
    store.drop_callback("b")
    store.remove(make_task("a"), NOW)
    assert store.callbacks_due(later, 9) == []


def test_requests_for_no_visible_label_are_kept_with_the_videos_hash(store: TaskStore) -> None:
    store.add(make_task("a", "alice", unlabelled_for="192.0.2.1"))
    store.add(make_task("b", created_at=NOW + timedelta(days=1), unlabelled_for="192.0.2.1"))
    store.add(make_task("labelled"))
    store.update("a", TaskStatus.PROCESSING)
    store.update("a", TaskStatus.COMPLETED, sha256="hash", finished_at=NOW)
    first = Unlabelled("a", "a", NOW, "alice", "192.0.2.1", "hash")
    second = Unlabelled("b", "b", NOW + timedelta(days=1), None, "192.0.2.1", None)
    store.remove(make_task("a"), NOW)
    assert store.unlabelled() == [first, second]
    store.forget_labels(made_before=NOW, asked_before=NOW + timedelta(hours=1))
    assert store.unlabelled() == [second]


def test_a_task_without_a_key_that_is_there_already_is_a_fault_of_ours(store: TaskStore) -> None:
    store.add(make_task("a"))
    with pytest.raises(StoreFailure):
        store.join(make_task("a"))


def test_a_database_that_does_not_answer(store: TaskStore, tmp_path: Path) -> None:
    assert store.ping()
    with closing(sqlite3.connect(tmp_path / "a #strange? name.db")) as database:
        database.execute("DROP TABLE renders")
    assert store.ping(), "it is asked nothing but whether it is there"
    with pytest.raises(StoreFailure):
        store.render("a")


def test_the_address_of_a_file_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "100% #1?.db"
    TaskStore(sqlite_url(file)).close()
    assert file.exists()
