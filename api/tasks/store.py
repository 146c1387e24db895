"""Tasks and renders in a database: SQLAlchemy Core on SQLite (WAL) or, by URL, PostgreSQL.

All methods but `cached_snapshot`, `recent_snapshot` and `generation` block for about a millisecond. Call them in a
thread from async code.
"""

import threading
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Set
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from api.tasks.allowances import Allowance, allow
from api.tasks.cache import TaskCache, TaskSnapshot
from api.tasks.forecast import Timing, Workload
from api.tasks.leadership import Leadership, SlotReport, last_report, refuse_when_superseded
from api.tasks.model import CANCELLED, FINAL, LEGAL, Callback, Render, Task, TaskStatus, Unlabelled
from api.tasks.notices import Change, Hear, Notices
from api.tasks.postgres import Lock, hold
from api.tasks.tables import callbacks, made, open_database, renders, tasks, timings, unlabelled
from dice_talk.labels import LabelOptions
from dice_talk.options import RenderOptions

MAX_TIMINGS = 200
"""How many past renders are remembered: enough for all workloads in use, and quick to read."""

MOST_IDS = 500
"""How many ids one statement names."""

_OF_RENDER = [column for column in renders.c if column.name != "unclaimed_at"]
_OF_TASK = [column for column in tasks.c if column.name not in ("render_id", "ended")]
_found = sa.select(*_OF_RENDER)
_joined = sa.select(*_OF_RENDER, *(column.label(f"task_{column.name}") for column in _OF_TASK)).join_from(
    tasks, renders
)
_UNFINISHED = renders.c.status.in_(sorted(set(TaskStatus) - FINAL))
_ENDED = ~_UNFINISHED  # said like this, because an index of states would find nearly all
_CLAIMED = sa.exists().where(tasks.c.render_id == renders.c.id)
_WANTED = _CLAIMED.where(tasks.c.cancelled_at.is_(None))
_BIRTH = sa.tuple_(tasks.c.created_at, tasks.c.id)


StoreFailure = sa.exc.SQLAlchemyError
"""Raised by any method if the database fails."""


class KeyTaken(Exception):
    """Another task of the same owner has that idempotency key."""


class NoPlace(Exception):
    """As many renders wait as may."""


class NoPlaceForOwner(Exception):
    """As many tasks of that owner wait as may."""


class Outdated(Exception):
    """A render that was to be shared has gone, or there is one now: look again."""


@dataclass(frozen=True)
class Places:
    """How many may wait."""

    queue: int
    of_owner: int


def sqlite_url(file: Path) -> sa.URL:
    """Return the URL of a database file, whatever characters its path contains."""
    return sa.URL.create("sqlite", database=str(file))


class TaskStore:
    """The only class that knows SQL."""

    def __init__(self, url: str | sa.URL, *, migrate: bool = True) -> None:
        """Open the database; see `open_database`. Raises `StoreError`."""
        self._cache, self._turn = TaskCache(), threading.Lock()
        self._db = open_database(url, migrate=migrate)
        self._notices = Notices(self._db) if self._db.dialect.name == "postgresql" else None
        # Without a transaction around each query, which would cost PostgreSQL's clients two round trips more.
        self._reading = self._db.execution_options(isolation_level="AUTOCOMMIT") if self._notices else self._db
        self.leadership = Leadership(self._db) if self._notices else None
        """Which of several servers dispatches; None if there can be only one."""

    def listen(self, hear: Hear) -> None:
        """Follow what other servers write, if there can be any. `hear`: called in a thread."""

        def hear_of(change: Change | None) -> None:
            self._invalidate(change)
            hear(change)

        if self._notices:
            self._notices.listen(hear_of)

    def close(self) -> None:
        """Close all connections."""
        if self._notices:
            self._notices.close()
        if self.leadership:
            self.leadership.release()
        self._db.dispose()

    @contextmanager
    def _writing(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """A transaction. `alone`: no other one of this kind runs meanwhile, on any server."""
        # SQLite would do for the turn, too, but those who wait would look again and again.
        with self._turn if alone and not self._notices else nullcontext(), self._db.begin() as db:
            if alone and self._notices:
                hold(db, Lock.ADMISSION)
            elif alone:
                db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    def _tell(self, db: sa.Connection, change: Change | None) -> None:
        if self._notices:
            self._notices.tell(db, change)

    def _invalidate(self, change: Change | None) -> None:
        if change is None:
            self._cache.clear()
        else:
            self._cache.invalidate(change.render_id, TaskStatus(change.status), change.task_id)

    def add(self, task: Task, places: Places | None = None) -> Render:
        """Store a task with a render of its own. Returns the render with its number.

        Raises `KeyTaken`, `NoPlace`, `NoPlaceForOwner` or, if there is a render to share, `Outdated`.
        """
        render = task.render
        row = {column.name: getattr(render, column.name) for column in _OF_RENDER if column.name != "number"}
        documents = {name: getattr(render, name).model_dump(mode="json") for name in ("options", "labels")}
        row |= {**documents, "status": render.status.value}
        with self._writing(alone=True) as db:
            if places:
                _refuse_without_place(db, task, places)
            number = int(db.scalar(renders.insert().values(row).returning(renders.c.number)) or 0)
            _store_claim(db, task)
            change = Change(render.id, render.status, number)
            self._tell(db, change)
        self._invalidate(change)
        return replace(render, number=number)

    def join(self, task: Task, places: Places | None = None) -> Task:
        """Store a task that shares an existing render. Returns it with that render as it is now.

        Raises `KeyTaken`, `NoPlaceForOwner` or, if the render can no longer be shared, `Outdated`.
        """
        with self._writing(alone=True) as db:
            found = _found.where(renders.c.id == task.render.id).with_for_update()  # it may end at this moment
            row = db.execute(found).mappings().one_or_none()
            if row is None or row["cache_key"] != task.render.cache_key or row["status"] == TaskStatus.FAILED:
                raise Outdated
            task = task.joining(_to_render(row))
            if places and task.render.status is TaskStatus.PENDING:
                _refuse_without_place_of_owner(db, task.owner, places)
            _store_claim(db, task)
        return task

    def cached_snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task if it is in the cache and surely right. Does not block.

        What another server writes is heard of a moment later. A client may have seen it already, so where there are
        several, only tasks that have ended are answered from the cache: they do not change.
        """
        found = self.recent_snapshot(task_id)
        if found and self._notices and found.task.render.status not in FINAL:
            return None
        return found

    def recent_snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task if it is in the cache and was right within the last second. Does not block."""
        if self._notices and not self._notices.fresh:
            return None
        return self._cache.get(task_id)

    def snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task."""
        return self.snapshots([task_id]).get(task_id)

    def snapshots(self, task_ids: Collection[str]) -> dict[str, TaskSnapshot]:
        """Return tasks by their ids, as far as there are any."""
        generation, waiting = self._cache.generation(), None
        with self._reading.connect() as db:
            found = [
                _to_task(row)
                for some in batched(task_ids, MOST_IDS)
                for row in db.execute(_joined.where(tasks.c.id.in_(some))).mappings()
            ]
            if any(task.render.status is TaskStatus.PENDING for task in found):
                waiting = _queue(db)
        for task in found:
            self._cache.put(task, waiting, generation)
        return {task.id: TaskSnapshot(task, bisect_left(waiting or [], task.render.number)) for task in found}

    def with_idempotency_key(self, owner: str | None, idempotency_key: str) -> Task | None:
        """Return the task that an owner's request with that idempotency key made."""
        query = _joined.where(tasks.c.idempotency_key == idempotency_key, _owned(owner))
        with self._reading.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_task(row)

    def page(
        self, owner: str | None, statuses: Collection[TaskStatus], limit: int, after: tuple[datetime, str] | None
    ) -> list[TaskSnapshot]:
        """Return an owner's tasks, newest first. `statuses`: empty for all. `after`: time and id of the last seen."""
        older: sa.ColumnElement[bool] = sa.true()
        if after:
            older = sa.tuple_(*map(sa.literal, after, (tasks.c.created_at.type, tasks.c.id.type))) > _BIRTH
        with self._reading.connect() as db:
            waiting = _queue(db)
            found = [
                _to_task(row)
                for query in _lists(owner, statuses)
                for row in db.execute(query.where(older).limit(limit)).mappings()
            ]
        found.sort(key=lambda task: (task.created_at, task.id), reverse=True)
        return [TaskSnapshot(task, bisect_left(waiting, task.render.number)) for task in found[:limit]]

    def render(self, render_id: str) -> Render | None:
        """Return a render."""
        with self._reading.connect() as db:
            row = db.execute(_found.where(renders.c.id == render_id)).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def shareable(self, cache_key: str) -> Render | None:
        """Return the newest render for this key that has not failed."""
        query = (
            _found.where(renders.c.cache_key == cache_key, renders.c.status != TaskStatus.FAILED.value)
            .order_by(renders.c.number.desc())
            .limit(1)
        )
        with self._reading.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        return None if row is None else _to_render(row)

    def any_shareable(self) -> bool:
        """Whether any render could be shared by an identical request."""
        query = sa.select(
            # Not "is not null", for which SQLite uses no index.
            sa.exists().where(renders.c.cache_key > "", renders.c.status != TaskStatus.FAILED.value)
        )
        with self._reading.connect() as db:
            return bool(db.scalar(query))

    def unfinished(self) -> list[Render]:
        """Return waiting and running renders in order of acceptance."""
        query = _found.where(_UNFINISHED).order_by(renders.c.number)
        with self._reading.connect() as db:
            return [_to_render(row) for row in db.execute(query).mappings()]

    def waiting_of(self, owner: str) -> int:
        """Return how many tasks of one owner wait."""
        with self._reading.connect() as db:
            return _waiting_of(db, owner)

    def waiting(self) -> int:
        """Return how many renders wait."""
        with self._reading.connect() as db:
            return _waiting(db)

    def update(
        self, render_id: str, status: TaskStatus, *, progress: float = 0.0, sha256: str | None = None, **values: Any
    ) -> bool:
        """Move a render to `status` and set `values`. Its progress never decreases. `sha256`: of the finished video.

        Returns False if the render is gone or `status` may not follow its present one, as with a late report about a
        finished render. Raises `Superseded` if another server dispatches now.
        """
        came_from = [before for before, following in LEGAL.items() if status in following]
        grown = sa.case((renders.c.progress > progress, renders.c.progress), else_=progress)
        statement = (
            renders.update()
            .where(renders.c.id == render_id, renders.c.status.in_(_values(came_from)))
            .values(status=status.value, progress=grown, **values)
        )
        change = Change(render_id, status)
        with self._writing() as db:
            if self.leadership and self.leadership.term is not None:
                refuse_when_superseded(db, self.leadership.term)
            changed = db.execute(statement).rowcount == 1
            if changed and status in FINAL:
                claims = sa.and_(tasks.c.render_id == render_id, tasks.c.ended.is_(None))
                db.execute(tasks.update().where(claims).values(ended=status.value))
            if changed and sha256:
                db.execute(made.insert().values(sha256=sha256, render_id=render_id, made_at=values["finished_at"]))
            self._tell(db, change)
        self._invalidate(change)
        return changed

    def cancel(self, task: Task, now: datetime) -> bool:
        """Mark a task as cancelled, and end its render if no other task claims it. Returns False if it had ended."""
        unfinished = sa.exists().where(renders.c.id == tasks.c.render_id, _UNFINISHED)
        progress, attempts, started = (
            sa.select(column).where(renders.c.id == tasks.c.render_id).scalar_subquery()
            for column in (renders.c.progress, renders.c.attempts, renders.c.started_at)
        )
        statement = (
            tasks.update()
            .where(tasks.c.id == task.id, tasks.c.cancelled_at.is_(None), unfinished)
            .values(
                ended=TaskStatus.FAILED.value,
                cancelled_at=now,
                cancelled_progress=progress,
                cancelled_attempts=attempts,
                cancelled_started_at=started,
            )
        )
        with self._writing(alone=True) as db:
            changed = db.execute(statement).rowcount == 1
            unwanted = _end_if_unwanted(db, task.render.id, now)
            change = Change(task.render.id, TaskStatus.FAILED, task_id=task.id, unwanted=unwanted)
            self._tell(db, change)
        self._invalidate(change)
        return changed

    def remove(self, task: Task, now: datetime) -> None:
        """Forget a task, and end its render if no other task claims it. A sweep then removes the render."""
        with self._writing(alone=True) as db:
            db.execute(tasks.delete().where(tasks.c.id == task.id))
            unwanted = _end_if_unwanted(db, task.render.id, now)
            db.execute(renders.update().where(renders.c.id == task.render.id, ~_CLAIMED).values(unclaimed_at=now))
            change = Change(task.render.id, TaskStatus.FAILED, task_id=task.id, unwanted=unwanted, removed=True)
            self._tell(db, change)
        self._invalidate(change)

    def expired(self, before: datetime) -> list[str]:
        """Return the ids of renders that ended before that time and have no later task, or that have no task at all.

        From now on, nothing shares them.
        """
        lately = _CLAIMED.where(tasks.c.created_at >= before)
        old, unclaimed = sa.and_(renders.c.finished_at < before, ~lately), renders.c.unclaimed_at.is_not(None)
        ended = sa.select(renders.c.id).where(_ENDED)
        with self._writing(alone=True) as db:
            # An index serves each of the two, but not both at once.
            found = list(db.scalars(ended.where(old).union(ended.where(unclaimed, ~_CLAIMED))))
            for some in batched(found, MOST_IDS):
                db.execute(renders.update().where(renders.c.id.in_(some)).values(cache_key=None))
        return found

    def purge(self, before: datetime, gone: Collection[str]) -> None:
        """Forget tasks that are older than `before` and whose render ended before it, then the renders in `gone` that
        have no task.
        """
        old = sa.select(renders.c.id).where(_ENDED, renders.c.finished_at < before)
        with self._writing() as db:
            db.execute(tasks.delete().where(tasks.c.created_at < before, tasks.c.render_id.in_(old)))
            for some in batched(gone, MOST_IDS):
                db.execute(renders.delete().where(renders.c.id.in_(some), ~_CLAIMED))
            self._tell(db, None)
        self._invalidate(None)

    def callbacks_due(self, now: datetime, limit: int) -> list[Callback]:
        """Return due callbacks of tasks that have ended. Those with the fewest attempts come first."""
        query = (
            sa.select(callbacks.c.task_id, tasks.c.owner, callbacks.c.url, callbacks.c.attempts)
            .join_from(callbacks, tasks)
            .where(callbacks.c.due_at <= now, tasks.c.ended.is_not(None))
            .order_by(callbacks.c.attempts, callbacks.c.due_at)
            .limit(limit)
        )
        with self._reading.connect() as db:
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
        with self._reading.connect() as db:
            return [Timing(Workload(*workload), seconds) for *workload, seconds in db.execute(sa.select(*columns))]

    def made_at(self, sha256: str) -> datetime | None:
        """Return when a video with that hash was first made here."""
        query = sa.select(sa.func.min(made.c.made_at)).where(made.c.sha256 == sha256)
        with self._reading.connect() as db:
            found: datetime | None = db.scalar(query)
        return found

    def unlabelled(self) -> list[Unlabelled]:
        """Return requests for videos without a visible label, oldest first, with the hash while it is known."""
        query = (
            sa.select(unlabelled, made.c.sha256)
            .join_from(unlabelled, made, unlabelled.c.render_id == made.c.render_id, isouter=True)
            .order_by(unlabelled.c.asked_at)
        )
        with self._reading.connect() as db:
            return [Unlabelled(**row) for row in db.execute(query).mappings()]

    def forget_labels(self, made_before: datetime, asked_before: datetime) -> None:
        """Forget the hashes of older videos, and older requests for videos without the visible label."""
        with self._db.begin() as db:
            db.execute(made.delete().where(made.c.made_at < made_before))
            db.execute(unlabelled.delete().where(unlabelled.c.asked_at < asked_before))

    def slot_report(self) -> SlotReport:
        """Return what the dispatching one of several servers last said of its slots."""
        with self._reading.connect() as db:
            return last_report(db)

    def allow_requests(self, owner: str, most: int, per_minute: int) -> Allowance:
        """Let this server admit up to `most` requests of a key, if all servers together keep to the limit."""
        with self._db.begin() as db:
            return allow(db, owner, most, per_minute)

    def generation(self) -> int:
        """Return a number that changes with every change of tasks or renders. Does not block."""
        return self._cache.generation()

    def render_ids(self) -> Set[str]:
        """Return the ids of all renders, which are read when they are needed."""
        return RenderIds(self._reading)


class RenderIds(Set[str]):
    """The ids of all renders, of which there may be millions: a set that lies in the database."""

    def __init__(self, database: sa.Engine) -> None:
        self._db = database

    def __contains__(self, render_id: object) -> bool:
        return bool({render_id} & self)

    def __iter__(self) -> Iterator[str]:
        with self._db.connect() as db:
            return iter(list(db.scalars(sa.select(renders.c.id))))

    def __len__(self) -> int:
        with self._db.connect() as db:
            return int(db.scalar(sa.select(sa.func.count()).select_from(renders)) or 0)

    def __bool__(self) -> bool:
        with self._db.connect() as db:
            return bool(db.scalar(sa.select(sa.exists(sa.select(renders.c.id)))))

    def __rand__(self, ids: Collection[str]) -> set[str]:
        """Return those of some ids that are known."""
        with self._db.connect() as db:
            return {
                render_id
                for some in batched(ids, MOST_IDS)
                for render_id in db.scalars(sa.select(renders.c.id).where(renders.c.id.in_(some)))
            }


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of at most `size` items."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _lists(owner: str | None, statuses: Collection[TaskStatus]) -> Iterator[sa.Select[Any]]:
    """Yield queries for an owner's tasks, newest first, each of which an index serves. Together they find all."""
    born = tasks.c.created_at.desc(), tasks.c.id.desc()
    query = _joined.where(_owned(owner))
    if not statuses:
        yield query.order_by(tasks.c.owner.desc(), *born)  # all columns of the index, or PostgreSQL would sort
        return
    query = query.order_by(tasks.c.owner.desc(), tasks.c.ended.desc(), *born)
    for status in FINAL & set(statuses):
        yield query.where(tasks.c.ended == status.value)
    if unfinished := set(statuses) - FINAL:
        yield query.where(tasks.c.ended.is_(None), renders.c.status.in_(_values(unfinished)))


def _store_claim(db: sa.Connection, task: Task) -> None:
    row = {column.name: getattr(task, column.name) for column in _OF_TASK}
    row |= {"render_id": task.render.id, "ended": task.render.status.value if task.render.status in FINAL else None}
    try:
        db.execute(tasks.insert().values(row))
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


def _refuse_without_place(db: sa.Connection, task: Task, places: Places) -> None:
    """Raises `Outdated`, `NoPlace` or `NoPlaceForOwner`."""
    key = task.render.cache_key
    if key and db.scalar(sa.select(sa.exists().where(renders.c.cache_key == key, _UNFINISHED))):
        raise Outdated
    _refuse_without_place_of_owner(db, task.owner, places)
    if _waiting(db) >= places.queue:
        raise NoPlace


def _refuse_without_place_of_owner(db: sa.Connection, owner: str | None, places: Places) -> None:
    if owner is not None and _waiting_of(db, owner) >= places.of_owner:
        raise NoPlaceForOwner


def _queue(db: sa.Connection) -> list[int]:
    """Return the numbers of waiting renders, in order."""
    return sorted(db.scalars(sa.select(renders.c.number).where(renders.c.status == TaskStatus.PENDING.value)))


def _waiting(db: sa.Connection) -> int:
    query = sa.select(sa.func.count()).where(renders.c.status == TaskStatus.PENDING.value)
    return int(db.scalar(query) or 0)


def _waiting_of(db: sa.Connection, owner: str) -> int:
    query = sa.select(sa.func.count()).join_from(tasks, renders)
    waiting = renders.c.status == TaskStatus.PENDING.value
    return int(db.scalar(query.where(tasks.c.owner == owner, tasks.c.ended.is_(None), waiting)) or 0)


def _end_if_unwanted(db: sa.Connection, render_id: str, now: datetime) -> bool:
    """Returns whether it was."""
    end = {**CANCELLED, "status": TaskStatus.FAILED.value, "finished_at": now, "updated_at": now}
    ended = db.execute(renders.update().where(renders.c.id == render_id, _UNFINISHED, ~_WANTED).values(end))
    return bool(ended.rowcount)


def _owned(owner: str | None) -> sa.ColumnElement[bool]:
    return tasks.c.owner.is_(None) if owner is None else tasks.c.owner == owner


def _to_task(row: sa.RowMapping) -> Task:
    values = {column.name: row[f"task_{column.name}"] for column in _OF_TASK}
    return Task(render=_to_render(row), **values)


def _to_render(row: sa.RowMapping) -> Render:
    values = {column.name: row[column.name] for column in _OF_RENDER}
    values |= {"options": RenderOptions.model_validate(row["options"]), "status": TaskStatus(row["status"])}
    values |= {"labels": LabelOptions.model_validate(row["labels"])}
    return Render(**values)


def _values(statuses: Iterable[TaskStatus]) -> list[str]:
    return [status.value for status in statuses]
