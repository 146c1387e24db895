"""The database of an earlier release, and what is remembered of the present one."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from api.clock import Clock
from api.tasks.forecast import Timing, Workload
from api.tasks.model import Render, Task, TaskStatus
from api.tasks.store import MAX_TIMINGS, KeyTaken, TaskStore, sqlite_url
from api.tasks.tables import MIGRATIONS, SCHEMA_VERSION
from dice_talk.options import RenderOptions

NOW = Clock()
VERSION_1 = """
CREATE TABLE renders (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id VARCHAR(36) NOT NULL, options JSON NOT NULL,
    engine VARCHAR(32) NOT NULL, cache_key VARCHAR(64), seconds FLOAT NOT NULL, created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL, status VARCHAR(16) NOT NULL, progress FLOAT NOT NULL, stage VARCHAR(32) NOT NULL,
    message TEXT NOT NULL, detail TEXT, attempts INTEGER NOT NULL, started_at DATETIME, finished_at DATETIME,
    result JSON NOT NULL, UNIQUE (id)
);
CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE tasks (
    id VARCHAR(36) NOT NULL, render_id VARCHAR(36) NOT NULL, created_at DATETIME NOT NULL,
    PRIMARY KEY (id), FOREIGN KEY(render_id) REFERENCES renders (id)
);
CREATE INDEX ix_renders_cache_key ON renders (cache_key);
CREATE INDEX ix_renders_status ON renders (status);
CREATE INDEX ix_tasks_render_id ON tasks (render_id);
INSERT INTO schema_version VALUES(1);
INSERT INTO renders VALUES (7, 'old', '{"emotion": "sad", "seed": 5}', 'lite', NULL, 1.5, '2024-01-15 10:30:00.000000',
    '2024-01-15 10:30:00.000000', 'PENDING', 0.0, 'queued', 'Waiting in queue', NULL, 0, NULL, NULL, '{}');
INSERT INTO tasks VALUES ('old', 'old', '2024-01-15 10:30:00.000000');
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dice_talk.db"


def make_task(task_id: str, owner: str | None = None) -> Task:
    now = NOW()
    render = Render(task_id, RenderOptions(emotion="sad", seed=5), "lite", None, 1.0, now, now)
    return Task(task_id, now, render, owner)


def schema(file: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'").fetchall()
        columns = [
            column
            for table in ("tasks", "renders")
            for column in database.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
        ]
    return {("table or index", name) for (name,) in rows} | {("column", name) for (name,) in columns}


def test_a_database_of_version_1_is_taken_over(file: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
    for _ in range(2):  # and once more, as each start does
        store = TaskStore(sqlite_url(file))
        standing = store.snapshot("old")
        assert standing
        assert (standing.task.owner, standing.task.render.number, standing.ahead) == (None, 7, 0)
        assert standing.task.warnings == []
        assert [render.id for render in store.unfinished()] == ["old"]
        store.close()
    store = TaskStore(sqlite_url(file))
    store.add(make_task("new", "alice"))
    assert store.waiting_of("alice") == 1
    store.close()
    TaskStore(sqlite_url(tmp_path / "fresh.db")).close()
    assert schema(file) == schema(tmp_path / "fresh.db")
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT version FROM schema_version").fetchall() == [(SCHEMA_VERSION,)]


def test_a_database_of_version_2_is_taken_over(file: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
        for statement in MIGRATIONS[1]:
            database.execute(statement)
        database.execute("UPDATE schema_version SET version = 2")
        database.execute("UPDATE tasks SET owner = 'alice'")
        database.commit()
    store = TaskStore(sqlite_url(file))
    (standing,) = store.page("alice", [], 10, None)
    assert (standing.task.cancelled_at, standing.task.render.steps, standing.task.render.pixels) == (None, 0, 0)
    assert store.cancel(standing.task, NOW())
    store.add(make_task("new", "alice"))
    store.add_timing(Timing(Workload("lite", 1, 2, 3), 4.0))
    assert store.timings() == [Timing(Workload("lite", 1, 2, 3), 4.0)]
    store.close()
    TaskStore(sqlite_url(tmp_path / "fresh.db")).close()
    assert schema(file) == schema(tmp_path / "fresh.db")


def test_a_database_of_version_3_with_repeated_keys_is_taken_over(file: Path, tmp_path: Path) -> None:
    """The first task of a key keeps it; no task is lost, and what was cancelled is told as before."""
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
        for version in (1, 2):
            for statement in MIGRATIONS[version]:
                database.execute(statement)
        database.execute("UPDATE schema_version SET version = 3")
        database.execute("UPDATE renders SET attempts = 2, started_at = '2024-01-15 10:31:00.000000'")
        rows = [
            ("b", "2024-01-16", None, "k"),
            ("a", "2024-01-16", None, "k"),
            ("c", "2024-01-15", "alice", "k"),
            ("d", "2024-01-17", "alice", "k"),
            ("e", "2024-01-17", "bob", "k"),
            ("f", "2024-01-17", None, "l"),
            ("g", "2024-01-17", None, None),
            ("h", "2024-01-17", None, None),
        ]
        for task_id, day, owner, key in rows:
            database.execute(
                "INSERT INTO tasks (id, render_id, created_at, owner, idempotency_key, request_hash, cancelled_at)"
                " VALUES (?, 'old', ?, ?, ?, 'hash', '2024-01-18 00:00:00.000000')",
                (task_id, f"{day} 00:00:00.000000", owner, key),
            )
        database.commit()
    store = TaskStore(sqlite_url(file))
    found = {(owner, key): store.with_idempotency_key(owner, key) for owner in (None, "alice", "bob") for key in "kl"}
    assert {who: task.id for who, task in found.items() if task} == {
        (None, "k"): "a",
        ("alice", "k"): "c",
        ("bob", "k"): "e",
        (None, "l"): "f",
    }
    standings = [store.snapshot(row[0]) for row in rows]
    assert all(standings)
    told = standings[0].task.as_seen_by_client()  # type: ignore[union-attr]
    assert (told.attempts, told.started_at) == (2, datetime(2024, 1, 16))
    store.close()
    TaskStore(sqlite_url(tmp_path / "fresh.db")).close()
    assert schema(file) == schema(tmp_path / "fresh.db")


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


def test_a_migration_that_fails_changes_nothing(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
        database.execute("CREATE INDEX ix_tasks_owner ON tasks (id)")  # in the way of the second step
    before = schema(file)
    with pytest.raises(Exception, match="cannot be opened"):
        TaskStore(sqlite_url(file))
    assert schema(file) == before


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
    store.join(Task("d", NOW(), store.snapshot("b").task.render, "alice"))  # type: ignore[union-attr]
    assert [answer and answer[3] for answer in told()] == [0, 1, 2, 1]
    store.update("a", TaskStatus.PROCESSING, updated_at=NOW())
    assert [answer and answer[3] for answer in told()] == [0, 0, 1, 0]
    store.update("a", TaskStatus.PROCESSING, progress=0.5, updated_at=NOW())
    told()
    store.update("a", TaskStatus.PENDING, updated_at=NOW())
    assert [answer and answer[3] for answer in told()] == [0, 1, 2, 1]
    for name in "ab":
        store.update(name, TaskStatus.PROCESSING, updated_at=NOW())
        store.update(name, TaskStatus.COMPLETED, progress=1.0, finished_at=NOW())
        assert not store.update(name, TaskStatus.FAILED), "final"
        told()
    standing = store.snapshot("c")
    assert standing
    store.join(Task("e", NOW(), standing.task.render))
    names.append("e")
    told()
    assert store.cancel(standing.task, NOW())
    assert not store.cancel(standing.task, NOW()), "once is enough"
    assert [answer and answer[1] for answer in told()][2:] == ["PENDING", "COMPLETED", "PENDING"], "the render goes on"
    assert store.cached_snapshot("c").task.as_seen_by_client().render.status is TaskStatus.FAILED  # type: ignore[union-attr]
    store.remove(standing.task, NOW())
    assert [answer and answer[1] for answer in told()][2:] == [None, "COMPLETED", "PENDING"]
    last = store.snapshot("e")
    assert last
    assert store.cancel(last.task, NOW())
    assert told()[4][1] is TaskStatus.FAILED, "nobody wants it any more"  # type: ignore[index]
    store.purge(NOW() + timedelta(days=1), ["a", "b"])
    assert [answer and answer[0] for answer in told()] == [None] * 5
    store.close()


def test_what_was_read_before_a_write_is_not_remembered_after_it(file: Path) -> None:
    store = TaskStore(sqlite_url(file))
    store.add(make_task("a"))
    cache = store._cache
    generation = cache.generation()
    before = store.snapshot("a")
    assert before
    store.update("a", TaskStatus.PROCESSING, updated_at=NOW())
    cache.put(before.task, [1], generation)  # a reader that was held up meanwhile
    assert store.cached_snapshot("a") is None
    store.close()
