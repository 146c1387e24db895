"""The tables of earlier releases are brought to those of this one, all or nothing."""

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from api.tasks.forecast import Timing, Workload
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore, sqlite_url
from api.tasks.tables import MIGRATIONS, SCHEMA_VERSION, StoreError, open_database
from tests.api.made import NOW, make_render, make_task

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
    assert store.cancel(standing.task, NOW)
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


def test_a_migration_that_fails_changes_nothing(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
        database.execute("CREATE INDEX ix_tasks_owner ON tasks (id)")  # in the way of the second step
    before = schema(file)
    with pytest.raises(Exception, match="cannot be opened"):
        TaskStore(sqlite_url(file))
    assert schema(file) == before


def test_the_database_of_a_later_release_is_left_alone(file: Path) -> None:
    TaskStore(sqlite_url(file)).close()
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE schema_version SET version = 99, serves = 98")
        database.execute("DROP TABLE made")
        database.commit()
    before = schema(file)
    with pytest.raises(StoreError, match=f"the database has version 99, this release reads {SCHEMA_VERSION}"):
        open_database(sqlite_url(file))
    assert schema(file) == before, "not even a table that is missing is made"


def test_every_version_has_a_way_to_the_next_one() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_file_that_is_no_database(file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="the database cannot be opened: file is not a database"):
        open_database(sqlite_url(file))


def test_a_damaged_database_is_named(file: Path) -> None:
    database = open_database(sqlite_url(file))
    database.dispose()
    data = bytearray(file.read_bytes())
    data[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    file.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"^the database (is damaged|cannot be opened): "):
        open_database(sqlite_url(file))


@pytest.mark.parametrize("url", ["rubbish", "nosuch://x", "mysql+nosuch://x/y"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(StoreError, match="wrong setting: database_url"):
        open_database(url)


def test_how_sqlite_is_set_up(file: Path) -> None:
    database = open_database(sqlite_url(file))
    with database.connect() as db:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = {name: db.scalar(sa.text(f"PRAGMA {name}")) for name in names}
    database.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_failed_tasks_of_version_4_get_a_code(file: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
        for version in (1, 2, 3):
            for statement in MIGRATIONS[version]:
                database.execute(statement)
        database.execute("UPDATE schema_version SET version = 4")
        row = database.execute("SELECT * FROM renders").fetchone()
        for number, (name, status, stage) in enumerate(
            [("failed", "FAILED", "failed"), ("cancelled", "FAILED", "cancelled"), ("done", "COMPLETED", "done")], 8
        ):
            values = [number, name, *row[2:]]
            database.execute(f"INSERT INTO renders VALUES ({', '.join('?' * len(values))})", values)
            database.execute("UPDATE renders SET status = ?, stage = ? WHERE id = ?", (status, stage, name))
        database.commit()
    store = TaskStore(sqlite_url(file))
    renders = [store.render(name) for name in ("old", "failed", "cancelled", "done")]
    assert [render.error_code for render in renders if render] == [None, "render_failed", "cancelled", None]
    assert [render.error_params for render in renders if render] == [None] * 4
    store.close()
    TaskStore(sqlite_url(tmp_path / "fresh.db")).close()
    assert schema(file) == schema(tmp_path / "fresh.db")


def test_a_reader_migrates_nothing(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
    with pytest.raises(StoreError, match="has version 1, not 6: start the server once"):
        open_database(sqlite_url(file), migrate=False)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
    TaskStore(sqlite_url(file)).close()
    open_database(sqlite_url(file), migrate=False).dispose()


def test_a_release_works_with_what_the_next_one_has_added(url: str) -> None:
    """While servers are replaced one by one."""
    TaskStore(url).close()
    database = sa.create_engine(url)
    with database.begin() as db:
        db.exec_driver_sql("ALTER TABLE tasks ADD COLUMN colour VARCHAR(9) NOT NULL DEFAULT 'red'")
        db.exec_driver_sql(f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}, serves = {SCHEMA_VERSION}")
    for migrate in (True, False):
        store = TaskStore(url, migrate=migrate)
        store.add(make_task(str(migrate)))
        assert store.snapshot(str(migrate))
        store.close()
    with database.begin() as db:
        assert db.exec_driver_sql("SELECT version FROM schema_version").all() == [(SCHEMA_VERSION + 1,)]
        db.exec_driver_sql(f"UPDATE schema_version SET serves = {SCHEMA_VERSION + 1}")
    for migrate in (True, False):
        with pytest.raises(StoreError, match=f"the database has version {SCHEMA_VERSION + 1}, "):
            TaskStore(url, migrate=migrate)
    database.dispose()


def test_finished_tasks_of_version_5_are_listed_by_their_end(url: str) -> None:
    names = {
        "waits": None,
        "done": TaskStatus.COMPLETED,
        "failed": TaskStatus.FAILED,
        "cancelled": TaskStatus.PROCESSING,
    }
    store = TaskStore(url)
    for name, status in names.items():
        store.add(make_task(name))
        if status:
            store.update(name, TaskStatus.PROCESSING)
            store.update(name, status, finished_at=NOW)
    store.join(make_task("shares", render=make_render("cancelled")))
    store.cancel(make_task("cancelled"), NOW)
    store.remove(make_task("failed"), NOW)
    store.add(make_task("failed2"))
    store.update("failed2", TaskStatus.FAILED, finished_at=NOW)
    store.close()
    database = sa.create_engine(url)
    with database.begin() as db:
        for index in ("owner_created_at", "owner_ended"):
            db.exec_driver_sql(f"DROP INDEX ix_tasks_{index}")
        for index in ("finished_at", "unclaimed_at"):
            db.exec_driver_sql(f"DROP INDEX ix_renders_{index}")
        for table, column in (("tasks", "ended"), ("renders", "unclaimed_at"), ("schema_version", "serves")):
            db.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.exec_driver_sql("CREATE INDEX ix_tasks_owner ON tasks (owner)")
        db.exec_driver_sql("UPDATE schema_version SET version = 5")
    database.dispose()
    store = TaskStore(url)
    lists = {status: {one.task.id for one in store.page(None, [status], 9, None)} for status in TaskStatus}
    assert lists == {
        TaskStatus.PENDING: {"waits"},
        TaskStatus.PROCESSING: {"shares"},
        TaskStatus.COMPLETED: {"done"},
        TaskStatus.FAILED: {"failed2", "cancelled"},
    }
    assert store.expired(NOW) == ["failed"], "what no task claims"
    store.close()
