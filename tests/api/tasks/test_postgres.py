"""PostgreSQL: how it is connected to, and that many servers may open an empty database at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from api.tasks import postgres
from api.tasks.postgres import Lock, hold, options_for, try_to_hold
from api.tasks.store import StoreFailure, TaskStore
from api.tasks.tables import MIGRATIONS, SCHEMA_VERSION, StoreError, metadata, open_database
from benchmarks.postgres import Postgres
from tests.api.made import make_task

URL = "postgresql+psycopg://dice:s3cret-word@127.0.0.1:1/x"


def test_own_options_of_a_url_are_kept() -> None:
    url = sa.make_url("postgresql+psycopg://x/y?options=-csearch_path%3Dtalk")
    assert options_for(url)["connect_args"]["options"].startswith("-csearch_path=talk -c statement_timeout=15s")


@pytest.mark.parametrize("url", [URL, "postgresql+psycopg://dice:s3cret-w@rd@localhost/x", f"{URL}?sslmode=nonsense"])
def test_the_password_is_never_told(url: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as error:
        open_database(url)
    assert "s3cret" not in str(error.value)
    assert "rd@" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_version_that_is_too_old_is_named(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "OLDEST", (99,))
    with pytest.raises(StoreError, match=r"^PostgreSQL 99 or newer is needed; the database's is \d+$"):
        open_database(postgres_url)


def test_six_servers_open_an_empty_database_at_once(postgres_url: str) -> None:
    gate = threading.Barrier(6)

    def start(number: int) -> None:
        gate.wait()
        store = TaskStore(postgres_url)
        store.add(make_task(str(number)))
        store.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(start, range(6)))
    store = TaskStore(postgres_url)
    assert len(store.render_ids()) == 6
    with store._db.connect() as db:
        assert db.execute(sa.text("SELECT version FROM schema_version")).all() == [(SCHEMA_VERSION,)]
    store.close()


def test_an_earlier_version_is_migrated_once_by_many_servers(postgres_url: str) -> None:
    """The last step; what it leads to is the same as what is made anew."""
    database = sa.create_engine(postgres_url)
    store = TaskStore(postgres_url)
    store.add(make_task("a"))
    store.close()
    new = shape(database)
    with database.begin() as db:
        for table, column in (("tasks", "ended"), ("renders", "unclaimed_at"), ("schema_version", "serves")):
            db.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        db.execute(sa.text("DROP INDEX ix_tasks_owner_created_at, ix_renders_finished_at"))
        db.execute(sa.text("CREATE INDEX ix_tasks_owner ON tasks (owner)"))
        db.execute(sa.text(f"UPDATE schema_version SET version = {max(MIGRATIONS)}"))
    with ThreadPoolExecutor(4) as pool:
        for store in pool.map(TaskStore, [postgres_url] * 4):
            assert store.snapshot("a")
            store.close()
    assert shape(database) == new
    database.dispose()


def shape(database: sa.Engine) -> dict[str, tuple[list[str], list[str]]]:
    """Columns and indexes of each table."""
    found = sa.inspect(database)
    return {
        name: (
            sorted(column["name"] for column in found.get_columns(name)),
            sorted(str(index["name"]) for index in found.get_indexes(name)),
        )
        for name in metadata.tables
    }


def test_a_connection_that_was_cut_is_replaced(postgres_url: str, postgres_server: Postgres) -> None:
    store = TaskStore(postgres_url)
    store.add(make_task("a"))
    postgres_server.cut_connections()
    assert store.snapshot("a")
    store.close()


def test_locks_end_with_their_transaction_or_connection(postgres_url: str) -> None:
    database = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with database.connect() as one, database.connect() as other:
        assert try_to_hold(one, Lock.DISPATCHING)
        assert not try_to_hold(other, Lock.DISPATCHING)
        assert try_to_hold(other, Lock.SCHEMA), "each is one of its own"
        one.invalidate()
        while not try_to_hold(other, Lock.DISPATCHING):
            pass
    database.dispose()
    writers = sa.create_engine(postgres_url)
    with writers.connect() as waiting:
        waiting.execute(sa.text("SET lock_timeout = '100ms'"))
        waiting.commit()
        with writers.begin() as first:
            hold(first, Lock.ADMISSION)
            with pytest.raises(sa.exc.OperationalError), waiting.begin():
                hold(waiting, Lock.ADMISSION)
        with waiting.begin():
            hold(waiting, Lock.ADMISSION)
    writers.dispose()


def test_a_database_that_is_away_is_a_failure_of_the_store(tmp_path: Path, postgres_url: str) -> None:
    store = TaskStore(postgres_url)
    store._db.dispose()
    store._db.url = sa.make_url(URL)
    store._db.pool._creator = lambda *_: (_ for _ in ()).throw(
        store._db.dialect.loaded_dbapi.OperationalError("refused")
    )
    with pytest.raises(StoreFailure):
        store.waiting()
    store.close()
