"""Finds tasks for clients."""

import asyncio
from dataclasses import replace

from api.errors import TaskNotFound
from api.tasks.cache import TaskSnapshot
from api.tasks.model import Task
from api.tasks.store import TaskStore


class TaskLookup:
    """Reads tasks from the cache or the store."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store

    async def snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task, whoever owns it."""
        cached = self._store.cached_snapshot(task_id)  # nearly always; a thread would take longer than all else
        return cached or await asyncio.to_thread(self._store.snapshot, task_id)

    async def recent(self, task_id: str) -> TaskSnapshot | None:
        """Return a task as it was within the last second, whoever owns it."""
        cached = self._store.recent_snapshot(task_id)
        return cached or await asyncio.to_thread(self._store.snapshot, task_id)

    async def find(self, task_id: str, owner: str | None) -> Task:
        """Return a task that its owner may see. Raises `TaskNotFound`."""
        return visible(await self.snapshot(task_id), owner).task


def visible(snapshot: TaskSnapshot | None, owner: str | None) -> TaskSnapshot:
    """Return the task as its client sees it. Raises `TaskNotFound` if it is another owner's.

    A task that was made without an API key is seen without one only.
    """
    if snapshot is None or snapshot.task.owner != owner:
        raise TaskNotFound
    return replace(snapshot, task=snapshot.task.as_seen_by_client())
