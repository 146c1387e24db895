"""Tasks and renders in a database: SQLAlchemy Core on SQLite (WAL) or, by URL, PostgreSQL.

All methods but `recall` block for about a millisecond; call them in a thread from async code.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine as Database

from api.eta import Size, Timing
from api.recent import Recent, Standing
from api.tasks import CANCELLED, FINAL, LEGAL, Callback, Render, Task, TaskStatus, Unlabelled
from dice_talk.labels import LabelOptions
from dice_talk.options import RenderOptions

SCHEMA_VERSION = 4
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
        # Of several tasks with one key, the first keeps it: the others stay, but no request finds them by it.
        "UPDATE tasks SET idempotency_key = NULL, request_hash = NULL WHERE EXISTS (SELECT 1 FROM tasks AS first"
        " WHERE first.idempotency_key = tasks.idempotency_key"
        " AND COALESCE(first.owner, '') = COALESCE(tasks.owner, '')"
        " AND (first.created_at < tasks.created_at OR (first.created_at = tasks.created_at AND first.id < tasks.id)))",
        "DROP INDEX ix_tasks_idempotency_key",
        "CREATE UNIQUE INDEX uq_tasks_idempotency_key ON tasks (idempotency_key, (COALESCE(owner, '')))",
        "ALTER TABLE renders ADD COLUMN labels JSON NOT NULL DEFAULT '{}'",
    ),
}
"""By version, what makes the next one of it; in SQL that SQLite and PostgreSQL both speak. New tables need no word."""
MAX_TIMINGS = 200
"""How many past renders are remembered: enough for every size that is in use, and little to read."""

_metadata = sa.MetaData()
_schema = sa.Table("schema_version", _metadata, sa.Column("version", sa.Integer, primary_key=True))
_renders = sa.Table(
    "renders",
    _metadata,
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
    sqlite_autoincrement=True,  # a number is never given twice, also not after rows were removed
)
_tasks = sa.Table(
    "tasks",
    _metadata,
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
sa.Index(  # one NULL is never equal to another, so that two tasks without an owner could have the same key
    "uq_tasks_idempotency_key",
    _tasks.c.idempotency_key,
    sa.func.coalesce(_tasks.c.owner, sa.literal_column("''")),
    unique=True,
)
_callbacks = sa.Table(
    "callbacks",  # that were not delivered yet; they go with their task
    _metadata,
    sa.Column("task_id", sa.String(36), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.DateTime, index=True, nullable=False),
)
_timings = sa.Table(  # how long renders took; kept when these are removed
    "timings",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("engine", sa.String(32), nullable=False),
    sa.Column("pixels", sa.Integer, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)
_made = sa.Table(  # finished videos by their hash; kept when these are removed
    "made",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("sha256", sa.String(64), index=True, nullable=False),
    sa.Column("render_id", sa.String(36), index=True, nullable=False),
    sa.Column("made_at", sa.DateTime, index=True, nullable=False),
)
_unlabelled = sa.Table(  # who asked for a video without the visible label; kept when the task is removed
    "unlabelled",
    _metadata,
    sa.Column("task_id", sa.String(36), primary_key=True),
    sa.Column("render_id", sa.String(36), nullable=False),
    sa.Column("asked_at", sa.DateTime, index=True, nullable=False),
    sa.Column("owner", sa.String(64)),
    sa.Column("address", sa.String(64), nullable=False),
)
_joined = sa.select(_renders, *(column.label(f"task_{column.name}") for column in _tasks.c)).join_from(_tasks, _renders)
_ENDED = _renders.c.status.in_([status.value for status in FINAL])
_CLAIMED = sa.exists().where(_tasks.c.render_id == _renders.c.id)
_WANTED = _CLAIMED.where(_tasks.c.cancelled_at.is_(None))
_TOLD = sa.case((_tasks.c.cancelled_at.is_not(None), TaskStatus.FAILED.value), else_=_renders.c.status)
"""The status of a task as `Task.as_told` gives it."""


StoreFailure = sa.exc.SQLAlchemyError
"""What any method raises when the database fails under it."""


class KeyTaken(Exception):
    """Another task of the same owner has that idempotency key."""


class StoreError(Exception):
    """The database cannot be used; the message is one line for the operator."""


def sqlite_url(file: Path) -> sa.URL:
    """Of a database in a file, whatever characters its path holds."""
    return sa.URL.create("sqlite", database=str(file))


class TaskStore:
    """The one place that knows SQL."""

    def __init__(self, url: str | sa.URL) -> None:
        """Opens the database and creates what is missing. Raises `StoreError`."""
        self._recent = Recent()
        try:
            self._db: Database = sa.create_engine(url, hide_parameters=True)  # errors are logged, values are not
        except (sa.exc.ArgumentError, ImportError) as error:
            raise StoreError(f"wrong setting: database_url: {error}") from error
        if self._db.dialect.name == "sqlite":
            sa.event.listen(self._db, "connect", _configure_sqlite)
        try:
            self._prepare()
        except BaseException as error:
            self.close()
            if isinstance(error, sa.exc.DBAPIError):
                raise StoreError(f"the database cannot be opened: {error.orig}") from error
            raise

    def _prepare(self) -> None:
        """Checks the database, and brings its tables to this version. Raises `StoreError`."""
        with self._db.begin() as db:
            if self._db.dialect.name == "sqlite" and (found := db.scalar(sa.text("PRAGMA quick_check(1)"))) != "ok":
                raise StoreError(f"the database is damaged: {' '.join(str(found).split())}")
            if self._db.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins none for a change of tables
            if sa.inspect(db).has_table(_schema.name):
                _refuse_unknown(db.scalar(sa.select(_schema.c.version)))
            _metadata.create_all(db)
            _migrate(db)

    def close(self) -> None:
        """Gives up all connections."""
        self._db.dispose()

    def ping(self) -> bool:
        """Whether the database answers."""
        try:
            with self._db.connect() as db:
                db.execute(sa.select(1))
        except sa.exc.SQLAlchemyError:
            return False
        return True

    def add(self, task: Task) -> Render:
        """Stores a task with a render of its own. Gives the render with its number. Raises `KeyTaken`."""
        render = task.render
        row = {column.name: getattr(render, column.name) for column in _renders.c if column.name != "number"}
        documents = {name: getattr(render, name).model_dump(mode="json") for name in ("options", "labels")}
        row |= {**documents, "status": render.status.value}
        with self._db.begin() as db:
            number = db.scalar(_renders.insert().values(row).returning(_renders.c.number))
            _store_claim(db, task)
        self._recent.forget(render.id, render.status)
        return replace(render, number=int(number or 0))

    def join(self, task: Task) -> None:
        """Stores a task that shares a render which is there already. Raises `KeyTaken`."""
        with self._db.begin() as db:
            _store_claim(db, task)

    def recall(self, task_id: str) -> Standing | None:
        """How a task stands, if that is known without asking the database. Does not block."""
        return self._recent.find(task_id)

    def standing(self, task_id: str) -> Standing | None:
        """How the task with this id stands."""
        stamp = self._recent.stamp()
        task = self._task(task_id)
        if task is None:
            return None
        waiting = self._waiting() if task.render.status is TaskStatus.PENDING else None
        self._recent.keep(task, waiting, stamp)
        return Standing(task, bisect_left(waiting or [], task.render.number))

    def _task(self, task_id: str) -> Task | None:
        with self._db.connect() as db:
            row = db.execute(_joined.where(_tasks.c.id == task_id)).mappings().one_or_none()
        return None if row is None else _to_task(row)

    def keyed(self, owner: str | None, idempotency_key: str) -> Task | None:
        """The task that this owner's request of that name made."""
        query = _joined.where(_tasks.c.idempotency_key == idempotency_key, _owned(owner))
        with self._db.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_task(row)

    def page(
        self, owner: str | None, statuses: Collection[TaskStatus], limit: int, after: tuple[datetime, str] | None
    ) -> list[Standing]:
        """An owner's tasks, newest first. `statuses`: empty for all. `after`: birth and id of the last one seen."""
        query = _joined.where(_owned(owner))
        if statuses:
            query = query.where(_TOLD.in_(_values(statuses)))
        if after:
            born, same_time = _tasks.c.created_at, sa.and_(_tasks.c.created_at == after[0], _tasks.c.id < after[1])
            query = query.where(sa.or_(born < after[0], same_time))
        query = query.order_by(_tasks.c.created_at.desc(), _tasks.c.id.desc()).limit(limit)
        waiting = self._waiting()
        with self._db.connect() as db:
            tasks = [_to_task(row) for row in db.execute(query).mappings()]
        return [Standing(task, bisect_left(waiting, task.render.number)) for task in tasks]

    def render(self, render_id: str) -> Render | None:
        """The render with this id."""
        with self._db.connect() as db:
            row = db.execute(sa.select(_renders).where(_renders.c.id == render_id)).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def shareable(self, cache_key: str) -> Render | None:
        """The newest render for this key that has not failed."""
        query = (
            sa.select(_renders)
            .where(_renders.c.cache_key == cache_key, _renders.c.status != TaskStatus.FAILED.value)
            .order_by(_renders.c.number.desc())
            .limit(1)
        )
        with self._db.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def any_shareable(self) -> bool:
        """Whether there is a render at all that an identical request may share."""
        query = sa.select(
            sa.exists().where(_renders.c.cache_key.is_not(None), _renders.c.status != TaskStatus.FAILED.value)
        )
        with self._db.connect() as db:
            return bool(db.scalar(query))

    def unfinished(self) -> list[Render]:
        """Waiting and running renders in the order of their acceptance."""
        query = sa.select(_renders).where(~_ENDED).order_by(_renders.c.number)
        with self._db.connect() as db:
            return [_to_render(row) for row in db.execute(query).mappings()]

    def _waiting(self) -> list[int]:
        """The numbers of the renders that wait, in order."""
        query = sa.select(_renders.c.number).where(_renders.c.status == TaskStatus.PENDING.value)
        with self._db.connect() as db:
            return sorted(db.scalars(query))

    def waiting_of(self, owner: str) -> int:
        """How many tasks of one owner wait."""
        query = (
            sa.select(sa.func.count())
            .join_from(_tasks, _renders)
            .where(_tasks.c.owner == owner, _TOLD.in_([TaskStatus.PENDING.value]))
        )
        with self._db.connect() as db:
            return int(db.scalar(query) or 0)

    def update(
        self, render_id: str, status: TaskStatus, *, progress: float = 0.0, sha256: str | None = None, **values: Any
    ) -> bool:
        """Moves a render to `status` and sets `values`; its progress only ever grows. `sha256`: of the finished video.

        False when the render is gone or may not go there from where it is: a late word about a finished render.
        """
        came_from = [before for before, following in LEGAL.items() if status in following]
        grown = sa.case((_renders.c.progress > progress, _renders.c.progress), else_=progress)
        statement = (
            _renders.update()
            .where(_renders.c.id == render_id, _renders.c.status.in_(_values(came_from)))
            .values(status=status.value, progress=grown, **values)
        )
        with self._db.begin() as db:
            changed = db.execute(statement).rowcount == 1
            if changed and sha256:
                db.execute(_made.insert().values(sha256=sha256, render_id=render_id, made_at=values["finished_at"]))
        self._recent.forget(render_id, status)
        return changed

    def cancel(self, task: Task, now: datetime) -> bool:
        """Marks a task as cancelled, and ends its render if nobody else wants it. False when it has ended already."""
        unfinished = sa.exists().where(_renders.c.id == _tasks.c.render_id, ~_ENDED)
        progress, attempts, started = (
            sa.select(column).where(_renders.c.id == _tasks.c.render_id).scalar_subquery()
            for column in (_renders.c.progress, _renders.c.attempts, _renders.c.started_at)
        )
        statement = (
            _tasks.update()
            .where(_tasks.c.id == task.id, _tasks.c.cancelled_at.is_(None), unfinished)
            .values(
                cancelled_at=now,
                cancelled_progress=progress,
                cancelled_attempts=attempts,
                cancelled_started_at=started,
            )
        )
        with self._db.begin() as db:
            changed = db.execute(statement).rowcount == 1
            _end_if_unwanted(db, task.render.id, now)
        self._recent.forget(task.render.id, TaskStatus.FAILED, task.id)
        return changed

    def remove(self, task: Task, now: datetime) -> None:
        """Forgets a task, and ends its render if nobody else wants it; a sweep then removes what nobody claims."""
        with self._db.begin() as db:
            db.execute(_tasks.delete().where(_tasks.c.id == task.id))
            _end_if_unwanted(db, task.render.id, now)
        self._recent.forget(task.render.id, TaskStatus.FAILED, task.id)

    def expired(self, before: datetime) -> list[str]:
        """Ids of the renders that ended before that time and that no later task claims, or that have no task at all."""
        lately = _CLAIMED.where(_tasks.c.created_at >= before)
        gone = sa.or_(sa.and_(_renders.c.finished_at < before, ~lately), ~_CLAIMED)
        with self._db.connect() as db:
            return list(db.scalars(sa.select(_renders.c.id).where(_ENDED, gone)))

    def purge(self, before: datetime, gone: Collection[str]) -> None:
        """Forgets the tasks that are older than that and whose render has ended before, then those renders of `gone`
        that have no task.
        """
        old = sa.select(_renders.c.id).where(_ENDED, _renders.c.finished_at < before)
        with self._db.begin() as db:
            db.execute(_tasks.delete().where(_tasks.c.created_at < before, _tasks.c.render_id.in_(old)))
            db.execute(_renders.delete().where(_renders.c.id.in_(gone), ~_CLAIMED))
        self._recent.forget_all()

    def callbacks_due(self, now: datetime, limit: int) -> list[Callback]:
        """Of tasks that have ended, those to send by now; what was tried least comes first."""
        query = (
            sa.select(_callbacks.c.task_id, _tasks.c.owner, _callbacks.c.url, _callbacks.c.attempts)
            .join_from(_callbacks, _tasks)
            .join(_renders)
            .where(_callbacks.c.due_at <= now, _TOLD.in_(_values(FINAL)))
            .order_by(_callbacks.c.attempts, _callbacks.c.due_at)
            .limit(limit)
        )
        with self._db.connect() as db:
            return [Callback(**row) for row in db.execute(query).mappings()]

    def postpone_callback(self, task_id: str, attempts: int, due_at: datetime) -> None:
        """Notes that so many attempts failed, and when to try again."""
        row = _callbacks.update().where(_callbacks.c.task_id == task_id).values(attempts=attempts, due_at=due_at)
        with self._db.begin() as db:
            db.execute(row)

    def drop_callback(self, task_id: str) -> None:
        """It was delivered, or given up."""
        with self._db.begin() as db:
            db.execute(_callbacks.delete().where(_callbacks.c.task_id == task_id))

    def learn(self, timing: Timing) -> None:
        """Remembers how long a render took."""
        row = {**asdict(timing.size), "seconds": timing.seconds}
        with self._db.begin() as db:
            number = db.scalar(_timings.insert().values(row).returning(_timings.c.number))
            db.execute(_timings.delete().where(_timings.c.number <= (number or 0) - MAX_TIMINGS))

    def timings(self) -> list[Timing]:
        """How long past renders took."""
        columns = (_timings.c.engine, _timings.c.pixels, _timings.c.frames, _timings.c.steps, _timings.c.seconds)
        with self._db.connect() as db:
            return [Timing(Size(*size), seconds) for *size, seconds in db.execute(sa.select(*columns))]

    def made_at(self, sha256: str) -> datetime | None:
        """When a video of that hash was first made here."""
        query = sa.select(sa.func.min(_made.c.made_at)).where(_made.c.sha256 == sha256)
        with self._db.connect() as db:
            found: datetime | None = db.scalar(query)
        return found

    def unlabelled(self) -> list[Unlabelled]:
        """Who asked for videos without the visible label, the first one first; with their hashes, as long as known."""
        query = (
            sa.select(_unlabelled, _made.c.sha256)
            .join_from(_unlabelled, _made, _unlabelled.c.render_id == _made.c.render_id, isouter=True)
            .order_by(_unlabelled.c.asked_at)
        )
        with self._db.connect() as db:
            return [Unlabelled(**row) for row in db.execute(query).mappings()]

    def forget_labels(self, made_before: datetime, asked_before: datetime) -> None:
        """The hashes of older videos, and older requests for no visible label."""
        with self._db.begin() as db:
            db.execute(_made.delete().where(_made.c.made_at < made_before))
            db.execute(_unlabelled.delete().where(_unlabelled.c.asked_at < asked_before))

    def stamp(self) -> int:
        """Another one after each change of what tasks look like. Does not block."""
        return self._recent.stamp()

    def render_ids(self) -> set[str]:
        """Of all renders."""
        with self._db.connect() as db:
            return set(db.scalars(sa.select(_renders.c.id)))


def _refuse_unknown(version: int | None) -> None:
    """Before anything is written to the database of another release."""
    if version not in (None, SCHEMA_VERSION, *MIGRATIONS):
        raise StoreError(f"the database has version {version}, this release reads {SCHEMA_VERSION}")


def _migrate(db: sa.Connection) -> None:
    """Brings the tables to this release's version, all or nothing."""
    found = version = db.scalar(sa.select(_schema.c.version))
    if found is None:
        db.execute(_schema.insert().values(version=SCHEMA_VERSION))
        return
    while version in MIGRATIONS:
        for statement in MIGRATIONS[version]:
            db.exec_driver_sql(statement)
        version += 1
    if version != found:
        db.execute(_schema.update().values(version=version))


def _store_claim(db: sa.Connection, task: Task) -> None:
    row = {column.name: getattr(task, column.name) for column in _tasks.c if column.name != "render_id"}
    try:
        db.execute(_tasks.insert().values({**row, "render_id": task.render.id}))
    except sa.exc.IntegrityError as error:
        if task.idempotency_key is None:
            raise
        raise KeyTaken from error
    if task.unlabelled_for is not None:
        asked = {"task_id": task.id, "render_id": task.render.id, "asked_at": task.created_at, "owner": task.owner}
        db.execute(_unlabelled.insert().values(asked | {"address": task.unlabelled_for}))
    if task.callback_url:
        callback = {"task_id": task.id, "url": task.callback_url, "attempts": 0, "due_at": task.created_at}
        db.execute(_callbacks.insert().values(callback))


def _end_if_unwanted(db: sa.Connection, render_id: str, now: datetime) -> None:
    end = {**CANCELLED, "status": TaskStatus.FAILED.value, "finished_at": now, "updated_at": now}
    db.execute(_renders.update().where(_renders.c.id == render_id, ~_ENDED, ~_WANTED).values(end))


def _owned(owner: str | None) -> sa.ColumnElement[bool]:
    return _tasks.c.owner.is_(None) if owner is None else _tasks.c.owner == owner


def _to_task(row: sa.RowMapping) -> Task:
    values = {column.name: row[f"task_{column.name}"] for column in _tasks.c if column.name != "render_id"}
    return Task(render=_to_render(row), **values)


def _to_render(row: sa.RowMapping) -> Render:
    values = {column.name: row[column.name] for column in _renders.c}
    values |= {"options": RenderOptions.model_validate(row["options"]), "status": TaskStatus(row["status"])}
    values |= {"labels": LabelOptions.model_validate(row["labels"])}
    return Render(**values)


def _values(statuses: Iterable[TaskStatus]) -> list[str]:
    return [status.value for status in statuses]


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an accepted task outlives a power cut
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
