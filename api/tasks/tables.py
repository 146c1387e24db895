"""Tables and their migrations, for SQLite and PostgreSQL."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine as Database

SCHEMA_VERSION = 5
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
}
"""By version, the statements that lead to the next one, in SQL for SQLite and PostgreSQL. New tables need none."""

metadata = sa.MetaData()
schema = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))
renders = sa.Table(
    "renders",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(36), unique=True, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("engine", sa.String(32), nullable=False),
    sa.Column("cache_key", sa.String(64), index=True),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
    sa.Column("status", sa.String(16), index=True, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("detail", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started_at", sa.DateTime),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("pixels", sa.Integer, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_params", sa.JSON(none_as_null=True)),
    sqlite_autoincrement=True,  # a number is never reused, not even after rows were removed
)
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("render_id", sa.String(36), sa.ForeignKey("renders.id"), index=True, nullable=False),
    sa.Column("created_at", sa.DateTime, index=True, nullable=False),
    sa.Column("owner", sa.String(64), index=True),
    sa.Column("cancelled_at", sa.DateTime),
    sa.Column("cancelled_progress", sa.Float, nullable=False),
    sa.Column("cancelled_attempts", sa.Integer, nullable=False),
    sa.Column("cancelled_started_at", sa.DateTime),
    sa.Column("attempts_before", sa.Integer, nullable=False),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("request_hash", sa.String(64)),
    sa.Column("warnings", sa.JSON, nullable=False),
)
sa.Index(  # NULLs are never equal, so without COALESCE two tasks without an owner could have the same key
    "uq_tasks_idempotency_key",
    tasks.c.idempotency_key,
    sa.func.coalesce(tasks.c.owner, sa.literal_column("''")),
    unique=True,
)
callbacks = sa.Table(
    "callbacks",  # not delivered yet; removed with their task
    metadata,
    sa.Column("task_id", sa.String(36), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.DateTime, index=True, nullable=False),
)
timings = sa.Table(  # how long renders took; outlive the renders
    "timings",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("engine", sa.String(32), nullable=False),
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
    sa.Column("sha256", sa.String(64), index=True, nullable=False),
    sa.Column("render_id", sa.String(36), index=True, nullable=False),
    sa.Column("made_at", sa.DateTime, index=True, nullable=False),
)
unlabelled = sa.Table(  # requests for videos without the visible label; outlive the tasks
    "unlabelled",
    metadata,
    sa.Column("task_id", sa.String(36), primary_key=True),
    sa.Column("render_id", sa.String(36), nullable=False),
    sa.Column("asked_at", sa.DateTime, index=True, nullable=False),
    sa.Column("owner", sa.String(64)),
    sa.Column("address", sa.String(64), nullable=False),
)


class StoreError(Exception):
    """The database cannot be used. The message is one line for the operator."""


def open_database(url: str | sa.URL, *, migrate: bool = True) -> Database:
    """Open a database, check it, and bring its tables to this version. Raises `StoreError`.

    `migrate`: False to refuse a database of another version. An empty one is set up in any case.
    """
    try:
        database: Database = sa.create_engine(url, hide_parameters=True)  # errors are logged, and values must not be
    except (sa.exc.ArgumentError, ImportError) as error:
        raise StoreError(f"wrong setting: database_url: {error}") from error
    if database.dialect.name == "sqlite":
        sa.event.listen(database, "connect", _configure_sqlite)
    try:
        _prepare(database) if migrate else _refuse_other_versions(database)
    except BaseException as error:
        database.dispose()
        if isinstance(error, sa.exc.DBAPIError):
            raise StoreError(f"the database cannot be opened: {error.orig}") from error
        raise
    return database


def _prepare(database: Database) -> None:
    with database.begin() as db:
        if database.dialect.name == "sqlite":
            if (found := db.scalar(sa.text("PRAGMA quick_check(1)"))) != "ok":
                raise StoreError(f"the database is damaged: {' '.join(str(found).split())}")
            db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins no transaction for DDL
        if sa.inspect(db).has_table(schema.name):
            _refuse_unknown(db.scalar(sa.select(schema.c.version)))
        metadata.create_all(db)
        _migrate(db)


def _refuse_other_versions(database: Database) -> None:
    with database.connect() as db:
        empty = not sa.inspect(db).has_table(schema.name)
        found = None if empty else db.scalar(sa.select(schema.c.version))
    if empty:
        _prepare(database)
    elif found != SCHEMA_VERSION:
        raise StoreError(f"the database has version {found}, not {SCHEMA_VERSION}: start the server once to migrate it")


def _refuse_unknown(version: int | None) -> None:
    """Refuse the database of another release before anything is written to it."""
    if version not in (None, SCHEMA_VERSION, *MIGRATIONS):
        raise StoreError(f"the database has version {version}, this release reads {SCHEMA_VERSION}")


def _migrate(db: sa.Connection) -> None:
    """Bring the tables to this release's version, all or nothing."""
    found = version = db.scalar(sa.select(schema.c.version))
    if found is None:
        db.execute(schema.insert().values(version=SCHEMA_VERSION))
        return
    while version in MIGRATIONS:
        for statement in MIGRATIONS[version]:
            db.exec_driver_sql(statement)
        version += 1
    if version != found:
        db.execute(schema.update().values(version=version))


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an accepted task survives a power cut
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
