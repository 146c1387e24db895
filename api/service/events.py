"""Streams each change of a task to clients, and what they missed while they were not connected."""

import asyncio
import secrets
from base64 import b64encode
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

import anyio
from fastapi.sse import ServerSentEvent

from api.rendering.previews import Preview
from api.schemas.tasks import PreviewShown, TaskState

CHECK_EVERY_S = 0.25
"""How often tasks are checked."""
KEY_CHECK_S = 0.5
"""How often the keys of clients that follow a silent task are checked."""
MAX_EVENTS, MAX_FEEDS = 64, 500
"""How many changes of how many tasks are kept for clients that reconnect: about 20 MB at most."""
TIME_FIELDS = {"elapsed_seconds", "eta_seconds"}
"""Fields that change with time alone. Clients have clocks."""


class Feed:
    """The events of one task. They are numbered, and an id names the feed and the number, so that an event of another
    run of the server is not mistaken for one of this run.
    """

    def __init__(self) -> None:
        self.followers = 0
        self.ended = False
        self._name, self._number = secrets.token_hex(4), 0
        self._events: deque[tuple[int, str]] = deque(maxlen=MAX_EVENTS)
        self._last: dict[str, object] | None = None
        self._updated_at: datetime | None = None
        self._silent = False
        self._preview: Preview | None = None
        self._changed = asyncio.Event()

    def add(self, state: TaskState) -> None:
        """Add an event, if the task has changed since the last one."""
        told = state.model_dump(exclude=TIME_FIELDS)
        if told == self._last:
            return
        self._last, self._updated_at = told, state.updated_at
        self._number += 1
        self._events.append((self._number, state.model_dump_json()))
        self._wake()

    def show(self, preview: Preview) -> None:
        """Note the latest preview. It has no number among the events: who comes late sees the latest one."""
        if self._preview is None or preview.number > self._preview.number:
            self._preview = preview
            self._wake()

    def older_than(self, state: TaskState) -> bool:
        """Whether a state is later than the last event."""
        return not self.ended and (self._updated_at is None or state.updated_at > self._updated_at)

    def end(self) -> None:
        """Note that nothing more will happen: the task has ended, or was removed."""
        self.ended = True
        self._wake()

    def close(self) -> None:
        """Close all connections though the task goes on, because the server stops."""
        self._silent = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(
        self, last_id: str | None, allowed: Callable[[], bool], *, previews: bool = False
    ) -> AsyncIterator[ServerSentEvent]:
        """Yield the events after the one with that id, or the present state; then each change; then the end.

        `previews`: with pictures in between. Stops without an end event if the client is no longer `allowed` to know.
        """
        told, shown = self._number_of(last_id), 0
        self.followers += 1
        try:
            while allowed():
                changed = self._changed
                for number, state in [event for event in self._events if event[0] > told]:
                    yield ServerSentEvent(event="state", id=f"{self._name}-{number}", raw_data=state)
                    told = number
                if told < self._number:
                    continue  # more came while those were sent
                if previews and self._preview and self._preview.number > shown and not self.ended:
                    shown = self._preview.number
                    yield ServerSentEvent(event="preview", raw_data=_describe_preview(self._preview))
                    continue
                if self.ended:
                    yield ServerSentEvent(event="end", id=f"{self._name}-{told}", raw_data=self._events[-1][1])
                if self.ended or self._silent:
                    return
                with anyio.move_on_after(KEY_CHECK_S):
                    await changed.wait()
        finally:
            self.followers -= 1

    def _number_of(self, last_id: str | None) -> int:
        """Return the number of the last event that a client knows."""
        name, _, number = (last_id or "").partition("-")
        if name == self._name and number.isascii() and number.isdigit() and len(number) < 10:
            return min(int(number), self._number)
        return self._number - 1


def _describe_preview(preview: Preview) -> str:
    image = f"data:image/jpeg;base64,{b64encode(preview.jpeg).decode()}"
    return PreviewShown(step=preview.step, steps=preview.steps, image=image).model_dump_json()


Look = tuple[TaskState, Preview | None]


class Events:
    """The feeds of tasks that a client follows or lately followed."""

    def __init__(self, look: Callable[[str], Awaitable[Look | None]]) -> None:
        """`look`: returns a task's state and its latest preview; None if it was removed."""
        self._look = look
        self._feeds: OrderedDict[str, Feed] = OrderedDict()  # those longest not asked for come first
        self._closed = False

    def feed(self, state: TaskState) -> Feed:
        """Return the feed of a task. `state`: its present one; an existing feed may be newer all the same."""
        feed = self._feeds.get(state.task_id)
        if feed is None:
            feed = self._feeds[state.task_id] = Feed()
        if feed.older_than(state):  # the client may come from another server, and have seen that already
            self._add(feed, state)
        self._feeds.move_to_end(state.task_id)
        if self._closed:
            feed.close()
        for task_id in list(self._feeds):
            if len(self._feeds) <= MAX_FEEDS:
                break
            if not self._feeds[task_id].followers and self._feeds[task_id] is not feed:
                del self._feeds[task_id]
        return feed

    async def update(self) -> None:
        """Check all tasks whose feed has not ended."""
        for task_id, feed in list(self._feeds.items()):
            if not feed.ended:
                found = await self._look(task_id)
                if found is None:
                    feed.end()
                    continue
                state, preview = found
                if preview:
                    feed.show(preview)
                self._add(feed, state)

    @staticmethod
    def _add(feed: Feed, state: TaskState) -> None:
        feed.add(state)
        if state.ended:
            feed.end()

    def close(self) -> None:
        """Close all connections. Later ones close after the present state."""
        self._closed = True
        for feed in self._feeds.values():
            feed.close()
