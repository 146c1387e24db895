"""Finds tasks for clients."""

import asyncio
from dataclasses import replace

from api.errors import TaskNotFound
from api.tasks.cache import TaskSnapshot
from api.tasks.model import Task
from api.tasks.store import TaskStore


class TaskLookup:
    """Reads tasks from the cache or the store.

    What is asked for while a query runs is read by the next one, all at once: where many clients ask and little can be
    cached, as with several servers, a status would cost a query and a thread each.
    """

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._asked: dict[str, asyncio.Future[TaskSnapshot | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def snapshot(self, task_id: str) -> TaskSnapshot | None:
        """Return a task, whoever owns it."""
        cached = self._store.cached_snapshot(task_id)  # nearly always; a thread would take longer than all else
        return cached or await self._read(task_id)

    async def recent(self, task_id: str) -> TaskSnapshot | None:
        """Return a task as it was within the last second, whoever owns it."""
        return self._store.recent_snapshot(task_id) or await self._read(task_id)

    async def _read(self, task_id: str) -> TaskSnapshot | None:
        found = self._asked.get(task_id)
        if found is None:
            found = self._asked[task_id] = asyncio.get_running_loop().create_future()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_what_is_asked())
        return await asyncio.shield(found)  # others may wait for it, too

    async def _read_what_is_asked(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await asyncio.to_thread(self._store.snapshots, list(asked))
                for task_id, future in asked.items():
                    future.set_result(found.get(task_id))
            except BaseException as error:
                for future in asked.values():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
                    future.cancelled() or future.exception()  # perhaps nobody waits any more
                if not isinstance(error, Exception):
                    raise

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
