"""What was lately read from the database, so that clients that ask again and again cost no further query.

True as long as nobody but this process writes, which the lock on the data folder sees to.
"""

import threading
from bisect import bisect_left
from dataclasses import dataclass, replace

from api.tasks import Render, Task, TaskStatus

MAX_TASKS = 10_000
"""A few MB. Then all is forgotten, and read again when it is asked for."""


@dataclass(frozen=True)
class Standing:
    """A task, and how many renders come before its own: 0 once that has started."""

    task: Task
    ahead: int


class Recent:
    """Remembers tasks, renders and who waits until they change. Safe from any thread.

    What is read while something is written may be old already and must not be kept: whoever reads takes a `stamp`
    before, and hands it in with what was read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writes = 0
        self._tasks: dict[str, Task] = {}  # of whose renders only the id is true
        self._renders: dict[str, Render] = {}
        self._waiting: list[int] | None = None  # numbers of the renders that wait, in order

    def stamp(self) -> int:
        """Another one after each write."""
        return self._writes

    def find(self, task_id: str) -> Standing | None:
        """How a task stands, if all that this takes is remembered."""
        with self._lock:
            task = self._tasks.get(task_id)
            render = self._renders.get(task.render.id) if task else None
            if task is None or render is None:
                return None
            task = replace(task, render=render)
            if render.status is not TaskStatus.PENDING:
                return Standing(task, 0)
            return None if self._waiting is None else Standing(task, bisect_left(self._waiting, render.number))

    def keep(self, task: Task, waiting: list[int] | None, stamp: int) -> None:
        """Remembers what was read since `stamp`. `waiting`: None where it was not read."""
        with self._lock:
            if stamp != self._writes:
                return
            if len(self._tasks) >= MAX_TASKS:
                self._tasks.clear()
                self._renders.clear()
            self._tasks[task.id] = task
            self._renders[task.render.id] = task.render
            if waiting is not None:
                self._waiting = waiting

    def forget(self, render_id: str, status: TaskStatus, task_id: str | None = None) -> None:
        """To be called after a render was written, with its new status; `task_id`: of its task that was written too."""
        with self._lock:
            self._writes += 1
            if task_id is not None:
                self._tasks.pop(task_id, None)
            before = self._renders.pop(render_id, None)
            if before is None or before.status is not status:
                self._waiting = None

    def forget_all(self) -> None:
        """To be called after tasks were removed."""
        with self._lock:
            self._writes += 1
            self._tasks.clear()
            self._renders.clear()
            self._waiting = None
