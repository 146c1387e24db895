"""Tables and their migrations, for SQLite and PostgreSQL."""

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine as Database

from api.tasks import postgres

CHECKED_BYTES = 128 * 2**20
"""A start looks for damage in databases up to this size, of about 90 000 tasks: that takes less than half a second."""
SCHEMA_VERSION, SERVES = 6, 6
"""The version of these tables, and the oldest one whose release can work with them, too. Several servers are replaced
one by one: a release only adds to what the one before needs, and a later release removes it."""
MIGRATIONS = {
    1: (
        "ALTER TABLE tasks ADD COLUMN owner VARCHAR(64)",
        "CREATE INDEX ix_tasks_owner ON tasks (owner)",
    ),
    2: (
        "ALTER TABLE renders ADD COLUMN step INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE renders ADD COLUMN steps INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE renders ADD COLUMN pixels INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN cancelled_at TIMESTAMP",
        "ALTER TABLE tasks ADD COLUMN cancelled_progress FLOAT NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN idempotency_key VARCHAR(255)",
        "ALTER TABLE tasks ADD COLUMN request_hash VARCHAR(64)",
        "CREATE INDEX ix_tasks_created_at ON tasks (created_at)",
        "CREATE INDEX ix_tasks_idempotency_key ON tasks (idempotency_key)",
    ),
    3: (
        "ALTER TABLE tasks ADD COLUMN warnings JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE tasks ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN cancelled_attempts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN cancelled_started_at TIMESTAMP",
        "UPDATE tasks SET cancelled_attempts = (SELECT attempts FROM renders WHERE renders.id = render_id),"
        " cancelled_started_at = (SELECT started_at FROM renders WHERE renders.id = render_id)"
        " WHERE cancelled_at IS NOT NULL",
        # If several tasks have one key, the first keeps it. The others stay, but no request finds them by it.
        "UPDATE tasks SET idempotency_key = NULL, request_hash = NULL WHERE EXISTS (SELECT 1 FROM tasks AS first"
        " WHERE first.idempotency_key = tasks.idempotency_key"
        " AND COALESCE(first.owner, '') = COALESCE(tasks.owner, '')"
        " AND (first.created_at < tasks.created_at OR (first.created_at = tasks.created_at AND first.id < tasks.id)))",
        "DROP INDEX ix_tasks_idempotency_key",
        "CREATE UNIQUE INDEX uq_tasks_idempotency_key ON tasks (idempotency_key, (COALESCE(owner, '')))",
        "ALTER TABLE renders ADD COLUMN labels JSON NOT NULL DEFAULT '{}'",
    ),
    4: (
        "ALTER TABLE renders ADD COLUMN error_code VARCHAR(64)",
        "ALTER TABLE renders ADD COLUMN error_params JSON",
        "UPDATE renders SET error_code = 'cancelled' WHERE status = 'FAILED' AND stage = 'cancelled'",
        # An earlier release kept only the sentence.
        "UPDATE renders SET error_code = 'render_failed' WHERE status = 'FAILED' AND error_code IS NULL",
    ),
    5: (
        "ALTER TABLE tasks ADD COLUMN ended VARCHAR(16)",
        "UPDATE tasks SET ended = CASE WHEN cancelled_at IS NOT NULL THEN 'FAILED' ELSE (SELECT status FROM renders"
        " WHERE renders.id = render_id AND status IN ('COMPLETED', 'FAILED')) END",
        "ALTER TABLE renders ADD COLUMN unclaimed_at TIMESTAMP",
        "UPDATE renders SET unclaimed_at = updated_at"
        " WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.render_id = renders.id)",
        "DROP INDEX ix_tasks_owner",
        "CREATE INDEX ix_tasks_owner_created_at ON tasks (owner, created_at, id)",
        "CREATE INDEX ix_tasks_owner_ended ON tasks (owner, ended, created_at, id)",
        "CREATE INDEX ix_renders_finished_at ON renders (finished_at)",
        "CREATE INDEX ix_renders_unclaimed_at ON renders (unclaimed_at) WHERE unclaimed_at IS NOT NULL",
        "ALTER TABLE schema_version ADD COLUMN serves INTEGER NOT NULL DEFAULT 6",
    ),
}
"""By version, the statements that lead to the next one, in SQL for SQLite and PostgreSQL. New tables need none."""


class Words(sa.TypeDecorator[str]):
    """Text of any length. What PostgreSQL cannot hold, and no honest client sends, is replaced."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """See `TypeDecorator`."""
        return value and value.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


metadata = sa.MetaData()
schema = sa.Table(
    "schema_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("serves", sa.Integer, nullable=False),
)
renders = sa.Table(
    "renders",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", Words, unique=True, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("engine", Words, nullable=False),
    sa.Column("cache_key", Words, index=True),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
    sa.Column("status", Words, index=True, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("stage", Words, nullable=False),
    sa.Column("message", Words, nullable=False),
    sa.Column("detail", Words),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started_at", sa.DateTime),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("pixels", sa.Integer, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("error_code", Words),
    sa.Column("error_params", sa.JSON(none_as_null=True)),
    sa.Column("unclaimed_at", sa.DateTime),  # when its last task was removed; `Render` does not have it
    sqlite_autoincrement=True,  # a number is never reused, not even after rows were removed
)
sa.Index("ix_renders_finished_at", renders.c.finished_at)
_unclaimed = renders.c.unclaimed_at.is_not(None)
sa.Index("ix_renders_unclaimed_at", renders.c.unclaimed_at, sqlite_where=_unclaimed, postgresql_where=_unclaimed)
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", Words, primary_key=True),
    sa.Column("render_id", Words, sa.ForeignKey("renders.id"), index=True, nullable=False),
    sa.Column("created_at", sa.DateTime, index=True, nullable=False),
    sa.Column("owner", Words),
    sa.Column("cancelled_at", sa.DateTime),
    sa.Column("cancelled_progress", sa.Float, nullable=False),
    sa.Column("cancelled_attempts", sa.Integer, nullable=False),
    sa.Column("cancelled_started_at", sa.DateTime),
    sa.Column("attempts_before", sa.Integer, nullable=False),
    sa.Column("idempotency_key", Words),
    sa.Column("request_hash", Words),
    sa.Column("warnings", sa.JSON, nullable=False),
    sa.Column("ended", Words),  # COMPLETED or FAILED, as its client sees it; `Task` does not have it
)
# Lists of an owner's tasks, of all and of those that ended in one way, whose cost does not grow with the others.
sa.Index("ix_tasks_owner_created_at", tasks.c.owner, tasks.c.created_at, tasks.c.id)
sa.Index("ix_tasks_owner_ended", tasks.c.owner, tasks.c.ended, tasks.c.created_at, tasks.c.id)
sa.Index(  # NULLs are never equal, so without COALESCE two tasks without an owner could have the same key
    "uq_tasks_idempotency_key",
    tasks.c.idempotency_key,
    sa.func.coalesce(tasks.c.owner, sa.literal_column("''")),
    unique=True,
)
callbacks = sa.Table(
    "callbacks",  # not delivered yet; removed with their task
    metadata,
    sa.Column("task_id", Words, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("url", Words, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.DateTime, index=True, nullable=False),
)
timings = sa.Table(  # how long renders took; outlive the renders
    "timings",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("engine", Words, nullable=False),
    sa.Column("pixels", sa.Integer, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)
made = sa.Table(  # hashes of finished videos; outlive the videos
    "made",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("sha256", Words, index=True, nullable=False),
    sa.Column("render_id", Words, index=True, nullable=False),
    sa.Column("made_at", sa.DateTime, index=True, nullable=False),
)
unlabelled = sa.Table(  # requests for videos without the visible label; outlive the tasks
    "unlabelled",
    metadata,
    sa.Column("task_id", Words, primary_key=True),
    sa.Column("render_id", Words, nullable=False),
    sa.Column("asked_at", sa.DateTime, index=True, nullable=False),
    sa.Column("owner", Words),
    sa.Column("address", Words, nullable=False),
)

dispatching = sa.Table(  # one row: which server dispatches, if several use the database; see `api.tasks.leadership`
    "dispatching",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("term", sa.Integer, nullable=False),
)
slot_reports = sa.Table(  # one row: what it said of its slots, and when by the database's clock
    "slot_reports",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("said", sa.JSON, nullable=False),
    sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
)
allowances = sa.Table(  # requests that servers were allowed to admit, if several count those of one key
    "allowances",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("owner", Words, nullable=False),
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
)
sa.Index("ix_allowances_owner", allowances.c.owner, allowances.c.given_at)


class StoreError(Exception):
    """The database cannot be used. The message is one line for the operator."""


def open_database(url: str | sa.URL, *, migrate: bool = True) -> Database:
    """Open a database, check it, and bring its tables to this version. Raises `StoreError`.

    `migrate`: False to refuse a database of another version. An empty one is set up in any case.
    """
    try:
        parsed = sa.make_url(url)
        # Errors are logged, and values must not be.
        database: Database = sa.create_engine(parsed, hide_parameters=True, **options_for(parsed))
    except ImportError as error:
        hint = "; ./start_server.sh install postgres" if error.name == "psycopg" else ""
        raise StoreError(f"wrong setting: database_url: {error}{hint}") from error
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreError(f"wrong setting: database_url: {error}") from error
    if database.dialect.name == "sqlite":
        sa.event.listen(database, "connect", _configure_sqlite)
    try:
        _prepare(database) if migrate else _refuse_other_versions(database)
    except BaseException as error:
        database.dispose()
        if isinstance(error, sa.exc.DBAPIError):
            damaged = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT
            what = "is damaged" if damaged else "cannot be opened"
            raise StoreError(f"the database {what}: {' '.join(str(error.orig).split())}") from error
        raise
    return database


def options_for(url: sa.URL) -> dict[str, Any]:
    """Return how SQLAlchemy is to use that database. Raises `ValueError`."""
    return postgres.options_for(url) if url.get_backend_name() == "postgresql" else {}


def _prepare(database: Database) -> None:
    with database.begin() as db:
        if database.dialect.name == "sqlite":
            _refuse_damaged(db)
            db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins no transaction for DDL
        elif database.dialect.name == "postgresql":
            _refuse_old_postgres(db)
            postgres.prepare_alone(db)
        if sa.inspect(db).has_table(schema.name):
            if _is_later_but_fits(db):
                return
            _refuse_unknown(db.scalar(sa.select(schema.c.version)))
        metadata.create_all(db)
        _migrate(db)


def _refuse_damaged(db: sa.Connection) -> None:
    """Read the database as a whole, unless that takes long."""
    size = db.scalar(sa.text("PRAGMA page_count")) * db.scalar(sa.text("PRAGMA page_size"))
    if size <= CHECKED_BYTES and (found := db.scalar(sa.text("PRAGMA quick_check(1)"))) != "ok":
        raise StoreError(f"the database is damaged: {' '.join(str(found).split())}")


def _refuse_old_postgres(db: sa.Connection) -> None:
    found = db.dialect.server_version_info or (0,)
    if found < postgres.OLDEST:
        raise StoreError(f"PostgreSQL {postgres.OLDEST[0]} or newer is needed; the database's is {found[0]}")


def _refuse_other_versions(database: Database) -> None:
    with database.connect() as db:
        empty = not sa.inspect(db).has_table(schema.name)
        found = None if empty else db.scalar(sa.select(schema.c.version))
        fits = found == SCHEMA_VERSION or (not empty and _is_later_but_fits(db))
    if empty:
        _prepare(database)
    elif not fits:
        raise StoreError(f"the database has version {found}, not {SCHEMA_VERSION}: start the server once to migrate it")


def _is_later_but_fits(db: sa.Connection) -> bool:
    """Whether another server has brought the tables to a later version that this release can work with."""
    later = (db.scalar(sa.select(schema.c.version)) or 0) > SCHEMA_VERSION
    return later and (db.scalar(sa.select(schema.c.serves)) or 0) <= SCHEMA_VERSION


def _refuse_unknown(version: int | None) -> None:
    """Refuse the database of another release before anything is written to it."""
    if version not in (None, SCHEMA_VERSION, *MIGRATIONS):
        raise StoreError(f"the database has version {version}, this release reads {SCHEMA_VERSION}")


def _migrate(db: sa.Connection) -> None:
    """Bring the tables to this release's version, all or nothing."""
    found = version = db.scalar(sa.select(schema.c.version))
    if found is None:
        db.execute(schema.insert().values(version=SCHEMA_VERSION, serves=SERVES))
        return
    while version in MIGRATIONS:
        for statement in MIGRATIONS[version]:
            db.exec_driver_sql(statement)
        version += 1
    if version != found:
        db.execute(schema.update().values(version=version, serves=SERVES))


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an accepted task survives a power cut
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
