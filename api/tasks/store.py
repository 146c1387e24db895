"""Tasks and renders in a database: SQLAlchemy Core on SQLite (WAL) or, by URL, PostgreSQL.

All methods but `cached_snapshot` and `generation` block for about a millisecond; call them in a thread from async code.
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
"""How many past renders are remembered: enough for every size that is in use, and little to read."""

_joined = sa.select(renders, *(column.label(f"task_{column.name}") for column in tasks.c)).join_from(tasks, renders)
_ENDED = renders.c.status.in_([status.value for status in FINAL])
_CLAIMED = sa.exists().where(tasks.c.render_id == renders.c.id)
_WANTED = _CLAIMED.where(tasks.c.cancelled_at.is_(None))
_VISIBLE_STATUS = sa.case((tasks.c.cancelled_at.is_not(None), TaskStatus.FAILED.value), else_=renders.c.status)
"""The status of a task as `Task.as_seen_by_client` gives it."""


StoreFailure = sa.exc.SQLAlchemyError
"""What any method raises when the database fails under it."""


class KeyTaken(Exception):
    """Another task of the same owner has that idempotency key."""


def sqlite_url(file: Path) -> sa.URL:
    """Of a database in a file, whatever characters its path holds."""
    return sa.URL.create("sqlite", database=str(file))


class TaskStore:
    """The one place that knows SQL."""

    def __init__(self, url: str | sa.URL) -> None:
        """Opens the database and creates what is missing. Raises `StoreError`."""
        self._cache = TaskCache()
        self._db = open_database(url)

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
        row = {column.name: getattr(render, column.name) for column in renders.c if column.name != "number"}
        documents = {name: getattr(render, name).model_dump(mode="json") for name in ("options", "labels")}
        row |= {**documents, "status": render.status.value}
        with self._db.begin() as db:
            number = db.scalar(renders.insert().values(row).returning(renders.c.number))
            _store_claim(db, task)
        self._cache.invalidate(render.id, render.status)
        return replace(render, number=int(number or 0))

    def join(self, task: Task) -> None:
        """Stores a task that shares a render which is there already. Raises `KeyTaken`."""
        with self._db.begin() as db:
            _store_claim(db, task)

    def cached_snapshot(self, task_id: str) -> TaskSnapshot | None:
        """How a task stands, if that is known without asking the database. Does not block."""
        return self._cache.get(task_id)

    def snapshot(self, task_id: str) -> TaskSnapshot | None:
        """How the task with this id stands."""
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
        """The task that this owner's request of that name made."""
        query = _joined.where(tasks.c.idempotency_key == idempotency_key, _owned(owner))
        with self._db.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_task(row)

    def page(
        self, owner: str | None, statuses: Collection[TaskStatus], limit: int, after: tuple[datetime, str] | None
    ) -> list[TaskSnapshot]:
        """An owner's tasks, newest first. `statuses`: empty for all. `after`: birth and id of the last one seen."""
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
        """The render with this id."""
        with self._db.connect() as db:
            row = db.execute(sa.select(renders).where(renders.c.id == render_id)).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def shareable(self, cache_key: str) -> Render | None:
        """The newest render for this key that has not failed."""
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
        """Whether there is a render at all that an identical request may share."""
        query = sa.select(
            sa.exists().where(renders.c.cache_key.is_not(None), renders.c.status != TaskStatus.FAILED.value)
        )
        with self._db.connect() as db:
            return bool(db.scalar(query))

    def unfinished(self) -> list[Render]:
        """Waiting and running renders in the order of their acceptance."""
        query = sa.select(renders).where(~_ENDED).order_by(renders.c.number)
        with self._db.connect() as db:
            return [_to_render(row) for row in db.execute(query).mappings()]

    def _waiting(self) -> list[int]:
        """The numbers of the renders that wait, in order."""
        query = sa.select(renders.c.number).where(renders.c.status == TaskStatus.PENDING.value)
        with self._db.connect() as db:
            return sorted(db.scalars(query))

    def waiting_of(self, owner: str) -> int:
        """How many tasks of one owner wait."""
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
        """Moves a render to `status` and sets `values`; its progress only ever grows. `sha256`: of the finished video.

        False when the render is gone or may not go there from where it is: a late word about a finished render.
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
        """Marks a task as cancelled, and ends its render if nobody else wants it. False when it has ended already."""
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
        """Forgets a task, and ends its render if nobody else wants it; a sweep then removes what nobody claims."""
        with self._db.begin() as db:
            db.execute(tasks.delete().where(tasks.c.id == task.id))
            _end_if_unwanted(db, task.render.id, now)
        self._cache.invalidate(task.render.id, TaskStatus.FAILED, task.id)

    def expired(self, before: datetime) -> list[str]:
        """Ids of the renders that ended before that time and that no later task claims, or that have no task at all."""
        lately = _CLAIMED.where(tasks.c.created_at >= before)
        gone = sa.or_(sa.and_(renders.c.finished_at < before, ~lately), ~_CLAIMED)
        with self._db.connect() as db:
            return list(db.scalars(sa.select(renders.c.id).where(_ENDED, gone)))

    def purge(self, before: datetime, gone: Collection[str]) -> None:
        """Forgets the tasks that are older than that and whose render has ended before, then those renders of `gone`
        that have no task.
        """
        old = sa.select(renders.c.id).where(_ENDED, renders.c.finished_at < before)
        with self._db.begin() as db:
            db.execute(tasks.delete().where(tasks.c.created_at < before, tasks.c.render_id.in_(old)))
            db.execute(renders.delete().where(renders.c.id.in_(gone), ~_CLAIMED))
        self._cache.clear()

    def callbacks_due(self, now: datetime, limit: int) -> list[Callback]:
        """Of tasks that have ended, those to send by now; what was tried least comes first."""
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
        """Notes that so many attempts failed, and when to try again."""
        row = callbacks.update().where(callbacks.c.task_id == task_id).values(attempts=attempts, due_at=due_at)
        with self._db.begin() as db:
            db.execute(row)

    def drop_callback(self, task_id: str) -> None:
        """It was delivered, or given up."""
        with self._db.begin() as db:
            db.execute(callbacks.delete().where(callbacks.c.task_id == task_id))

    def add_timing(self, timing: Timing) -> None:
        """Remembers how long a render took."""
        row = {**asdict(timing.size), "seconds": timing.seconds}
        with self._db.begin() as db:
            number = db.scalar(timings.insert().values(row).returning(timings.c.number))
            db.execute(timings.delete().where(timings.c.number <= (number or 0) - MAX_TIMINGS))

    def timings(self) -> list[Timing]:
        """How long past renders took."""
        columns = (timings.c.engine, timings.c.pixels, timings.c.frames, timings.c.steps, timings.c.seconds)
        with self._db.connect() as db:
            return [Timing(Workload(*size), seconds) for *size, seconds in db.execute(sa.select(*columns))]

    def made_at(self, sha256: str) -> datetime | None:
        """When a video of that hash was first made here."""
        query = sa.select(sa.func.min(made.c.made_at)).where(made.c.sha256 == sha256)
        with self._db.connect() as db:
            found: datetime | None = db.scalar(query)
        return found

    def unlabelled(self) -> list[Unlabelled]:
        """Who asked for videos without the visible label, the first one first; with their hashes, as long as known."""
        query = (
            sa.select(unlabelled, made.c.sha256)
            .join_from(unlabelled, made, unlabelled.c.render_id == made.c.render_id, isouter=True)
            .order_by(unlabelled.c.asked_at)
        )
        with self._db.connect() as db:
            return [Unlabelled(**row) for row in db.execute(query).mappings()]

    def forget_labels(self, made_before: datetime, asked_before: datetime) -> None:
        """The hashes of older videos, and older requests for no visible label."""
        with self._db.begin() as db:
            db.execute(made.delete().where(made.c.made_at < made_before))
            db.execute(unlabelled.delete().where(unlabelled.c.asked_at < asked_before))

    def generation(self) -> int:
        """Another one after each change of what tasks look like. Does not block."""
        return self._cache.generation()

    def render_ids(self) -> set[str]:
        """Of all renders."""
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
