"""Tasks and renders in a database: SQLAlchemy Core on SQLite (WAL) or, by URL, PostgreSQL.

All methods but `cached_snapshot` and `generation` block for about a millisecond. Call them in a thread from async code.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from api.tasks.cache import TaskCache, TaskSnapshot
from api.tasks.forecast import Timing, Workload
from api.tasks.model import CANCELLED, FINAL, LEGAL, Callback, Render, Task, TaskStatus, Unlabelled
from api.tasks.tables import callbacks, made, open_database, renders, tasks, timings, unlabelled
from dice_talk.labels import LabelOptions
from dice_talk.options import RenderOptions

MAX_TIMINGS = 200
"""How many past renders are remembered: enough for all workloads in use, and quick to read."""

_joined = sa.select(renders, *(column.label(f"task_{column.name}") for column in tasks.c)).join_from(tasks, renders)
_ENDED = renders.c.status.in_([status.value for status in FINAL])
_CLAIMED = sa.exists().where(tasks.c.render_id == renders.c.id)
_WANTED = _CLAIMED.where(tasks.c.cancelled_at.is_(None))
_VISIBLE_STATUS = sa.case((tasks.c.cancelled_at.is_not(None), TaskStatus.FAILED.value), else_=renders.c.status)
"""A task's status as `Task.as_seen_by_client` returns it."""


StoreFailure = sa.exc.SQLAlchemyError
"""Raised by any method if the database fails."""


class KeyTaken(Exception):
    """Another task of the same owner has that idempotency key."""


def sqlite_url(file: Path) -> sa.URL:
    """Return the URL of a database file, whatever characters its path contains."""
    return sa.URL.create("sqlite", database=str(file))


class TaskStore:
    """The only class that knows SQL."""

    def __init__(self, url: str | sa.URL, *, migrate: bool = True) -> None:
        """Open the database; see `open_database`. Raises `StoreError`."""
        self._cache = TaskCache()
        self._db = open_database(url, migrate=migrate)

    def close(self) -> None:
        """Close all connections."""
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
        """Store a task with a render of its own. Returns the render with its number. Raises `KeyTaken`."""
        render = task.render
        row = {column.name: getattr(render, column.name) for column in renders.c if column.name != "number"}
        documents = {name: getattr(render, name).model_dump(mode="json") for name in ("options", "labels")}
        row |= {**documents, "status": render.status.value}
        with self._db.begin() as db:
            number = db.scalar(renders.insert().values(row).returning(renders.c.number))
            _store_claim(db, task)
        self._cache.invalidate(render.id, render.status)
        return replace(render, number=int(number or 0))

    def join(self, task: Task) -> None:
        """Store a task that shares an existing render. Raises `KeyTaken`."""
        with self._db.begin() as db:
            _store_claim(db, task)

    def cached_snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task if it is in the cache. Does not block."""
        return self._cache.get(task_id)

    def snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task."""
        generation = self._cache.generation()
        task = self._task(task_id)
        if task is None:
            return None
        waiting = self._waiting() if task.render.status is TaskStatus.PENDING else None
        self._cache.put(task, waiting, generation)
        return TaskSnapshot(task, bisect_left(waiting or [], task.render.number))

    def _task(self, task_id: str) -> Task | None:
        with self._db.connect() as db:
            row = db.execute(_joined.where(tasks.c.id == task_id)).mappings().one_or_none()
        return None if row is None else _to_task(row)

    def with_idempotency_key(self, owner: str | None, idempotency_key: str) -> Task | None:
        """Return the task that an owner's request with that idempotency key made."""
        query = _joined.where(tasks.c.idempotency_key == idempotency_key, _owned(owner))
        with self._db.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_task(row)

    def page(
        self, owner: str | None, statuses: Collection[TaskStatus], limit: int, after: tuple[datetime, str] | None
    ) -> list[TaskSnapshot]:
        """Return an owner's tasks, newest first. `statuses`: empty for all. `after`: time and id of the last seen."""
        query = _joined.where(_owned(owner))
        if statuses:
            query = query.where(_VISIBLE_STATUS.in_(_values(statuses)))
        if after:
            born, same_time = tasks.c.created_at, sa.and_(tasks.c.created_at == after[0], tasks.c.id < after[1])
            query = query.where(sa.or_(born < after[0], same_time))
        query = query.order_by(tasks.c.created_at.desc(), tasks.c.id.desc()).limit(limit)
        waiting = self._waiting()
        with self._db.connect() as db:
            found = [_to_task(row) for row in db.execute(query).mappings()]
        return [TaskSnapshot(task, bisect_left(waiting, task.render.number)) for task in found]

    def render(self, render_id: str) -> Render | None:
        """Return a render."""
        with self._db.connect() as db:
            row = db.execute(sa.select(renders).where(renders.c.id == render_id)).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def shareable(self, cache_key: str) -> Render | None:
        """Return the newest render for this key that has not failed."""
        query = (
            sa.select(renders)
            .where(renders.c.cache_key == cache_key, renders.c.status != TaskStatus.FAILED.value)
            .order_by(renders.c.number.desc())
            .limit(1)
        )
        with self._db.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def any_shareable(self) -> bool:
        """Whether any render could be shared by an identical request."""
        query = sa.select(
            sa.exists().where(renders.c.cache_key.is_not(None), renders.c.status != TaskStatus.FAILED.value)
        )
        with self._db.connect() as db:
            return bool(db.scalar(query))

    def unfinished(self) -> list[Render]:
        """Return waiting and running renders in order of acceptance."""
        query = sa.select(renders).where(~_ENDED).order_by(renders.c.number)
        with self._db.connect() as db:
            return [_to_render(row) for row in db.execute(query).mappings()]

    def _waiting(self) -> list[int]:
        """Return the numbers of waiting renders, in order."""
        query = sa.select(renders.c.number).where(renders.c.status == TaskStatus.PENDING.value)
        with self._db.connect() as db:
            return sorted(db.scalars(query))

    def waiting_of(self, owner: str) -> int:
        """Return how many tasks of one owner wait."""
        query = (
            sa.select(sa.func.count())
            .join_from(tasks, renders)
            .where(tasks.c.owner == owner, _VISIBLE_STATUS.in_([TaskStatus.PENDING.value]))
        )
        with self._db.connect() as db:
            return int(db.scalar(query) or 0)

    def update(
        self, render_id: str, status: TaskStatus, *, progress: float = 0.0, sha256: str | None = None, **values: Any
    ) -> bool:
        """Move a render to `status` and set `values`. Its progress never decreases. `sha256`: of the finished video.

        Returns False if the render is gone or `status` may not follow its present one, as with a late report about a
        finished render.
        """
        came_from = [before for before, following in LEGAL.items() if status in following]
        grown = sa.case((renders.c.progress > progress, renders.c.progress), else_=progress)
        statement = (
            renders.update()
            .where(renders.c.id == render_id, renders.c.status.in_(_values(came_from)))
            .values(status=status.value, progress=grown, **values)
        )
        with self._db.begin() as db:
            changed = db.execute(statement).rowcount == 1
            if changed and sha256:
                db.execute(made.insert().values(sha256=sha256, render_id=render_id, made_at=values["finished_at"]))
        self._cache.invalidate(render_id, status)
        return changed

    def cancel(self, task: Task, now: datetime) -> bool:
        """Mark a task as cancelled, and end its render if no other task claims it. Returns False if it had ended."""
        unfinished = sa.exists().where(renders.c.id == tasks.c.render_id, ~_ENDED)
        progress, attempts, started = (
            sa.select(column).where(renders.c.id == tasks.c.render_id).scalar_subquery()
            for column in (renders.c.progress, renders.c.attempts, renders.c.started_at)
        )
        statement = (
            tasks.update()
            .where(tasks.c.id == task.id, tasks.c.cancelled_at.is_(None), unfinished)
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
        self._cache.invalidate(task.render.id, TaskStatus.FAILED, task.id)
        return changed

    def remove(self, task: Task, now: datetime) -> None:
        """Forget a task, and end its render if no other task claims it. A sweep then removes the render."""
        with self._db.begin() as db:
            db.execute(tasks.delete().where(tasks.c.id == task.id))
            _end_if_unwanted(db, task.render.id, now)
        self._cache.invalidate(task.render.id, TaskStatus.FAILED, task.id)

    def expired(self, before: datetime) -> list[str]:
        """Return the ids of renders that ended before that time and have no later task, or that have no task at all."""
        lately = _CLAIMED.where(tasks.c.created_at >= before)
        gone = sa.or_(sa.and_(renders.c.finished_at < before, ~lately), ~_CLAIMED)
        with self._db.connect() as db:
            return list(db.scalars(sa.select(renders.c.id).where(_ENDED, gone)))

    def purge(self, before: datetime, gone: Collection[str]) -> None:
        """Forget tasks that are older than `before` and whose render ended before it, then the renders in `gone` that
        have no task.
        """
        old = sa.select(renders.c.id).where(_ENDED, renders.c.finished_at < before)
        with self._db.begin() as db:
            db.execute(tasks.delete().where(tasks.c.created_at < before, tasks.c.render_id.in_(old)))
            db.execute(renders.delete().where(renders.c.id.in_(gone), ~_CLAIMED))
        self._cache.clear()

    def callbacks_due(self, now: datetime, limit: int) -> list[Callback]:
        """Return due callbacks of tasks that have ended. Those with the fewest attempts come first."""
        query = (
            sa.select(callbacks.c.task_id, tasks.c.owner, callbacks.c.url, callbacks.c.attempts)
            .join_from(callbacks, tasks)
            .join(renders)
            .where(callbacks.c.due_at <= now, _VISIBLE_STATUS.in_(_values(FINAL)))
            .order_by(callbacks.c.attempts, callbacks.c.due_at)
            .limit(limit)
        )
        with self._db.connect() as db:
            return [Callback(**row) for row in db.execute(query).mappings()]

    def postpone_callback(self, task_id: str, attempts: int, due_at: datetime) -> None:
        """Store the number of failed attempts, and when to try again."""
        row = callbacks.update().where(callbacks.c.task_id == task_id).values(attempts=attempts, due_at=due_at)
        with self._db.begin() as db:
            db.execute(row)

    def drop_callback(self, task_id: str) -> None:
        """Forget a callback that was delivered or given up."""
        with self._db.begin() as db:
            db.execute(callbacks.delete().where(callbacks.c.task_id == task_id))

    def add_timing(self, timing: Timing) -> None:
        """Remember how long a render took."""
        row = {**asdict(timing.workload), "seconds": timing.seconds}
        with self._db.begin() as db:
            number = db.scalar(timings.insert().values(row).returning(timings.c.number))
            db.execute(timings.delete().where(timings.c.number <= (number or 0) - MAX_TIMINGS))

    def timings(self) -> list[Timing]:
        """Return how long past renders took."""
        columns = (timings.c.engine, timings.c.pixels, timings.c.frames, timings.c.steps, timings.c.seconds)
        with self._db.connect() as db:
            return [Timing(Workload(*workload), seconds) for *workload, seconds in db.execute(sa.select(*columns))]

    def made_at(self, sha256: str) -> datetime | None:
        """Return when a video with that hash was first made here."""
        query = sa.select(sa.func.min(made.c.made_at)).where(made.c.sha256 == sha256)
        with self._db.connect() as db:
            found: datetime | None = db.scalar(query)
        return found

    def unlabelled(self) -> list[Unlabelled]:
        """Return requests for videos without a visible label, oldest first, with the hash while it is known."""
        query = (
            sa.select(unlabelled, made.c.sha256)
            .join_from(unlabelled, made, unlabelled.c.render_id == made.c.render_id, isouter=True)
            .order_by(unlabelled.c.asked_at)
        )
        with self._db.connect() as db:
            return [Unlabelled(**row) for row in db.execute(query).mappings()]

    def forget_labels(self, made_before: datetime, asked_before: datetime) -> None:
        """Forget the hashes of older videos, and older requests for videos without the visible label."""
        with self._db.begin() as db:
            db.execute(made.delete().where(made.c.made_at < made_before))
            db.execute(unlabelled.delete().where(unlabelled.c.asked_at < asked_before))

    def generation(self) -> int:
        """Return a number that changes with every change of tasks or renders. Does not block."""
        return self._cache.generation()

    def render_ids(self) -> set[str]:
        """Return the ids of all renders."""
        with self._db.connect() as db:
            return set(db.scalars(sa.select(renders.c.id)))


def _store_claim(db: sa.Connection, task: Task) -> None:
    row = {column.name: getattr(task, column.name) for column in tasks.c if column.name != "render_id"}
    try:
        db.execute(tasks.insert().values({**row, "render_id": task.render.id}))
    except sa.exc.IntegrityError as error:
        if task.idempotency_key is None:
            raise
        raise KeyTaken from error
    if task.unlabelled_for is not None:
        asked = {"task_id": task.id, "render_id": task.render.id, "asked_at": task.created_at, "owner": task.owner}
        db.execute(unlabelled.insert().values(asked | {"address": task.unlabelled_for}))
    if task.callback_url:
        callback = {"task_id": task.id, "url": task.callback_url, "attempts": 0, "due_at": task.created_at}
        db.execute(callbacks.insert().values(callback))


def _end_if_unwanted(db: sa.Connection, render_id: str, now: datetime) -> None:
    end = {**CANCELLED, "status": TaskStatus.FAILED.value, "finished_at": now, "updated_at": now}
    db.execute(renders.update().where(renders.c.id == render_id, ~_ENDED, ~_WANTED).values(end))


def _owned(owner: str | None) -> sa.ColumnElement[bool]:
    return tasks.c.owner.is_(None) if owner is None else tasks.c.owner == owner


def _to_task(row: sa.RowMapping) -> Task:
    values = {column.name: row[f"task_{column.name}"] for column in tasks.c if column.name != "render_id"}
    return Task(render=_to_render(row), **values)


def _to_render(row: sa.RowMapping) -> Render:
    values = {column.name: row[column.name] for column in renders.c}
    values |= {"options": RenderOptions.model_validate(row["options"]), "status": TaskStatus(row["status"])}
    values |= {"labels": LabelOptions.model_validate(row["labels"])}
    return Render(**values)


def _values(statuses: Iterable[TaskStatus]) -> list[str]:
    return [status.value for status in statuses]
