"""Caches what was read from the database, so that clients that poll cost no further query.

The cache is right as long as only this process writes, which the lock on the data folder ensures.
"""

import threading
from bisect import bisect_left
from dataclasses import dataclass, replace

from api.tasks.model import Render, Task, TaskStatus

MAX_TASKS = 10_000
"""About 10 MB. A full cache is cleared, and filled again by what clients ask for."""


@dataclass(frozen=True)
class TaskSnapshot:
    """A task at one moment, and the number of renders ahead of its own: 0 once that has started."""

    task: Task
    ahead: int


class TaskCache:
    """Caches tasks, renders and the order of the queue. Safe to use from any thread.

    Something that is read while something else is written may be stale already and must not be cached. A reader
    therefore takes the `generation` first, and passes it to `put` with what it has read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = 0
        self._tasks: dict[str, Task] = {}  # with the render's id alone: the render itself is in the next one
        self._renders: dict[str, Render] = {}
        self._waiting: list[int] | None = None  # numbers of the waiting renders, in order

    def generation(self) -> int:
        """Return a number that changes with every write."""
        return self._generation

    def get(self, task_id: str) -> TaskSnapshot | None:
        """Return a task, if everything that its snapshot takes is cached."""
        with self._lock:
            task = self._tasks.get(task_id)
            render = self._renders.get(task.render.id) if task else None
            if task is None or render is None:
                return None
            task = replace(task, render=render)
            if render.status is not TaskStatus.PENDING:
                return TaskSnapshot(task, 0)
            return None if self._waiting is None else TaskSnapshot(task, bisect_left(self._waiting, render.number))

    def put(self, task: Task, waiting: list[int] | None, generation: int) -> None:
        """Cache what was read, unless something was written since `generation`. `waiting`: None if it was not read."""
        with self._lock:
            if generation != self._generation:
                return
            if len(self._tasks) >= MAX_TASKS:
                self._tasks.clear()
                self._renders.clear()
            self._tasks[task.id] = task
            self._renders[task.render.id] = task.render
            if waiting is not None:
                self._waiting = waiting

    def invalidate(self, render_id: str, status: TaskStatus, task_id: str | None = None) -> None:
        """Drop a render that was written, with its new status, and its task if that was written too."""
        with self._lock:
            self._generation += 1
            if task_id is not None:
                self._tasks.pop(task_id, None)
            before = self._renders.pop(render_id, None)
            if before is None or before.status is not status:
                self._waiting = None

    def clear(self) -> None:
        """Drop everything: tasks were removed."""
        with self._lock:
            self._generation += 1
            self._tasks.clear()
            self._renders.clear()
            self._waiting = None
