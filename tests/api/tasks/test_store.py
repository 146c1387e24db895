"""Tasks and renders in the database, and what is remembered of them."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.tasks.forecast import Timing, Workload
from api.tasks.model import LEGAL, Callback, Task, TaskStatus, Unlabelled
from api.tasks.store import (
    MAX_TIMINGS,
    KeyTaken,
    NoPlace,
    NoPlaceForOwner,
    Outdated,
    Places,
    StoreFailure,
    TaskStore,
    sqlite_url,
)
from dice_talk.labels import LabelOptions
from tests.api.made import NOW, make_render, make_task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dice_talk.db"


@pytest.mark.parametrize("owner", [None, "alice"])
def test_two_tasks_cannot_have_one_key(url: str, owner: str | None) -> None:
    stores = [TaskStore(url) for _ in range(2)]
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


def test_only_the_last_timings_are_kept(url: str) -> None:
    store = TaskStore(url)
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


def test_a_database_that_does_not_answer(store: TaskStore) -> None:
    assert store.waiting() == 0
    with store._db.begin() as db:
        db.exec_driver_sql("ALTER TABLE renders RENAME TO elsewhere")
    for ask in (store.waiting, lambda: store.render("a")):
        with pytest.raises(StoreFailure):
            ask()


def test_the_address_of_a_file_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "100% #1?.db"
    TaskStore(sqlite_url(file)).close()
    assert file.exists()


def test_what_no_database_takes_as_text_is_not_found(store: TaskStore) -> None:
    store.add(make_task("a"))
    for odd in ("a\0", "\0", "\ud800", "a" * 100_000):
        assert store.snapshot(odd) is None
        assert store.render(odd) is None
        assert store.with_idempotency_key(None, odd) is None
        assert store.page(odd, [], 5, None) == []
        assert store.page(None, [], 5, (NOW, odd)) in ([], store.page(None, [], 5, None))
        assert odd not in store.render_ids()


def test_ids_are_known_as_a_set_is(store: TaskStore) -> None:
    ids = store.render_ids()
    assert not ids
    for number in range(3):
        store.add(make_task(str(number)))
    assert ids == {"0", "1", "2"} and "1" in ids and "3" not in ids
    assert {str(number) for number in range(2, 1200)} & ids == {"2"}


def test_places_are_given_one_by_one(store: TaskStore) -> None:
    places = Places(queue=3, of_owner=2)
    shared = store.add(make_task("a", "alice", make_render("a", cache_key="key")), places)
    store.join(make_task("b", "alice", shared), places)
    with pytest.raises(NoPlaceForOwner):
        store.add(make_task("c", "alice"), places)
    with pytest.raises(NoPlaceForOwner):
        store.join(make_task("c", "alice", shared), places)
    with pytest.raises(Outdated):
        store.add(make_task("c", "bob", make_render("c", cache_key="key")), places)
    store.add(make_task("c", "bob"), places)
    store.add(make_task("d"), places)
    with pytest.raises(NoPlace):
        store.add(make_task("e"), places)
    assert store.render_ids() == {"a", "c", "d"}
    store.update("a", TaskStatus.PROCESSING)
    store.join(make_task("e", "alice", shared), places)
    store.add(make_task("f", "alice"), places)
    assert store.waiting() == 3


def test_only_one_of_many_gets_the_last_place(store: TaskStore) -> None:
    places = Places(queue=5, of_owner=100)

    def ask(number: int) -> bool:
        try:
            store.add(make_task(str(number)), places)
        except NoPlace:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(40))) == 5
    assert len(store.render_ids()) == 5


def test_what_goes_is_not_shared(store: TaskStore) -> None:
    """A render that was ended, or is about to be removed."""
    for name in "abc":
        store.add(make_task(name, render=make_render(name, cache_key=name)))
    renders = {name: store.render(name) for name in "abc"}
    store.cancel(make_task("a"), NOW)
    store.update("b", TaskStatus.PROCESSING)
    store.update("b", TaskStatus.COMPLETED, finished_at=NOW)
    assert sorted(store.expired(NOW + timedelta(hours=1))) == ["a", "b"]
    for name in "ab":
        assert store.shareable(name) is None
        with pytest.raises(Outdated):
            store.join(Task(f"{name}2", NOW, renders[name]))  # type: ignore[arg-type]
    assert store.join(Task("c2", NOW, renders["c"])).render.status is TaskStatus.PENDING  # type: ignore[arg-type]


def test_a_task_joins_a_render_as_it_is_now(store: TaskStore) -> None:
    before = store.add(make_task("a"))
    store.update("a", TaskStatus.PROCESSING, attempts=2)
    task = store.join(make_task("b", render=before))
    assert (task.render.status, task.attempts_before) == (TaskStatus.PROCESSING, 1)
    store.update("a", TaskStatus.COMPLETED, finished_at=NOW)
    store.join(make_task("c", render=before))
    assert [one.task.id for one in store.page(None, [TaskStatus.COMPLETED], 9, None)] == ["c", "b", "a"]


TABLES = ("tasks", "renders", "callbacks", "made", "unlabelled")


def test_no_query_reads_a_whole_table(tmp_path: Path) -> None:
    """So its cost does not grow with what lies in the store."""
    store = TaskStore(sqlite_url(tmp_path / "dice_talk.db"))
    store.add(make_task("a", "alice", make_render(cache_key="key"), idempotency_key="k", request_hash="h"))
    seen: list[Any] = []
    sa.event.listen(store._db, "before_cursor_execute", lambda *call: seen.append(call[2:4]))
    places, after = Places(9, 9), (NOW, "a")
    store.add(make_task("b", "alice"), places)
    for owner in (None, "alice"):
        store.with_idempotency_key(owner, "k")
        for statuses in ([], *([status] for status in TaskStatus), list(TaskStatus)):
            for start in (None, after):
                store.page(owner, statuses, 9, start)
    store.snapshot("a")
    store.shareable("key")
    store.any_shareable()
    store.unfinished()
    store.update("a", TaskStatus.PROCESSING)
    store.update("a", TaskStatus.COMPLETED, finished_at=NOW, sha256="hash")
    store.join(make_task("c", "alice", store.render("a")), places)
    store.cancel(make_task("b"), NOW)
    store.remove(make_task("b"), NOW)
    store.purge(NOW, store.expired(NOW))
    store.callbacks_due(NOW, 9)
    store.made_at("hash")
    store.forget_labels(NOW, NOW)
    bool(store.render_ids())
    {"a", "b"} & store.render_ids()
    first_row = "SELECT EXISTS (SELECT renders.id \nFROM renders)"
    whole = set()
    with closing(sqlite3.connect(tmp_path / "dice_talk.db")) as database:
        for statement, values in seen:
            if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or statement.startswith(first_row):
                continue
            for *_, step in database.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall():
                found_by_state = "ix_renders_status" in step and ("COMPLETED" in values or "FAILED" in values)
                if found_by_state or any(step.startswith(f"SCAN {table}") for table in TABLES):
                    whole.add((step, statement))
    store.close()
    assert {step for step, _ in whole} <= {"SCAN renders USING COVERING INDEX ix_renders_unclaimed_at"}, whole
