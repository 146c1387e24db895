"""Tells clients of each change of their tasks, and again what they missed while the connection was gone."""

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from fastapi.sse import ServerSentEvent

from api.schemas.tasks import TaskState

TICK_S = 0.25
"""How often tasks are looked at."""
ALLOWED_S = 0.5
"""How often those who follow a silent task are looked at: whether their key still counts."""
MAX_EVENTS, MAX_FEEDS = 64, 500
"""How many changes of how many tasks are kept to be told again: some 20 MB at most."""
UNTOLD = {"elapsed_seconds", "eta_seconds"}
"""What changes with time alone: clients have clocks."""


class Feed:
    """What is told of one task. Events are numbered; an id names feed and number, so that one of another run of the
    server is not taken for one of this.
    """

    def __init__(self) -> None:
        self.followers = 0
        self.ended = False
        self._name, self._number = secrets.token_hex(4), 0
        self._events: deque[tuple[int, str]] = deque(maxlen=MAX_EVENTS)
        self._last: dict[str, object] | None = None
        self._silent = False
        self._changed = asyncio.Event()

    def tell(self, state: TaskState) -> None:
        """Notes how the task is now, if that differs from what was told last."""
        told = state.model_dump(exclude=UNTOLD)
        if told == self._last:
            return
        self._last = told
        self._number += 1
        self._events.append((self._number, state.model_dump_json()))
        self._wake()

    def end(self) -> None:
        """There is nothing more to tell: the task has ended, or is gone."""
        self.ended = True
        self._wake()

    def fall_silent(self) -> None:
        """Closes all connections though the task goes on: the server stops."""
        self._silent = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(self, last_id: str | None, allowed: Callable[[], bool]) -> AsyncIterator[ServerSentEvent]:
        """What came after the event with that id, else how the task is now; then each change; then the end.

        Stops, without an end, when the client is no longer `allowed` to know.
        """
        told = self._number_of(last_id)
        self.followers += 1
        try:
            while allowed():
                changed = self._changed
                for number, state in [event for event in self._events if event[0] > told]:
                    yield ServerSentEvent(event="state", id=f"{self._name}-{number}", raw_data=state)
                    told = number
                if told < self._number:
                    continue  # more came while those were sent
                if self.ended:
                    yield ServerSentEvent(event="end", id=f"{self._name}-{told}", raw_data=self._events[-1][1])
                if self.ended or self._silent:
                    return
                with anyio.move_on_after(ALLOWED_S):
                    await changed.wait()
        finally:
            self.followers -= 1

    def _number_of(self, last_id: str | None) -> int:
        """Of the last event that a client knows."""
        name, _, number = (last_id or "").partition("-")
        if name == self._name and number.isascii() and number.isdigit() and len(number) < 10:
            return min(int(number), self._number)
        return self._number - 1


class Events:
    """The feeds of tasks that somebody watches or lately watched."""

    def __init__(self, look: Callable[[str], Awaitable[TaskState | None]]) -> None:
        """`look`: how a task is; None when it is gone."""
        self._look = look
        self._feeds: OrderedDict[str, Feed] = OrderedDict()  # those longest not asked for come first
        self._closed = False

    def feed(self, state: TaskState) -> Feed:
        """Of the task whose state that is. One that is there already may know more, and is not told."""
        feed = self._feeds.get(state.task_id)
        if feed is None:
            feed = self._feeds[state.task_id] = Feed()
            self._tell(feed, state)
        self._feeds.move_to_end(state.task_id)
        if self._closed:
            feed.fall_silent()
        for task_id in list(self._feeds):
            if len(self._feeds) <= MAX_FEEDS:
                break
            if not self._feeds[task_id].followers and self._feeds[task_id] is not feed:
                del self._feeds[task_id]
        return feed

    async def update(self) -> None:
        """Looks at all tasks whose feed has not ended."""
        for task_id, feed in list(self._feeds.items()):
            if not feed.ended:
                state = await self._look(task_id)
                if state:
                    self._tell(feed, state)
                else:
                    feed.end()

    @staticmethod
    def _tell(feed: Feed, state: TaskState) -> None:
        feed.tell(state)
        if state.ended:
            feed.end()

    def close(self) -> None:
        """Ends all connections, and those to come after what is known was told."""
        self._closed = True
        for feed in self._feeds.values():
            feed.fall_silent()
