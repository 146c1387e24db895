"""A semaphore for child processes that inspect files: few run at a time, and never all of them for one client."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from api.caller import caller
from api.errors import QueueFull
from dice_talk.error_codes import ErrorCode

AT_ONCE = 3
"""Child processes of one kind. More would only compete with the renders for the cores."""
OF_ONE_CLIENT = AT_ONCE - 1
"""A client whose files take as long as the limits allow still leaves one place to others."""
WAIT_S = 120.0
"""Most clients give up sooner (docs/security.md)."""
RETRY_S = 30


class FairSemaphore:
    """Waiting clients take turns. Within one client, the first request goes first."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the client whose turn is next comes first

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Hold one place for the caller. Raises `QueueFull` after two minutes."""
        client = caller.get()
        await self._wait(client)
        try:
            yield
        finally:
            self._release(client)

    async def _wait(self, client: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._grant()
        try:
            with anyio.fail_after(WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self._release(client)
            else:
                self._leave(client, turn)
            if isinstance(error, TimeoutError):
                raise QueueFull(
                    ErrorCode.INSPECTIONS_FULL,
                    "Too many files are being looked at",
                    "These files waited {seconds:g} seconds. Try again later.",
                    {"Retry-After": str(RETRY_S)},
                    seconds=WAIT_S,
                ) from None
            raise

    def _leave(self, client: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(client, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(client, None)

    def _release(self, client: str) -> None:
        self._held[client] -= 1
        self._held += Counter()  # drops clients that hold none
        self._grant()

    def _grant(self) -> None:
        """Give free places to the clients whose turn it is."""
        while self._held.total() < AT_ONCE:
            client = next((one for one in self._waiting if self._held[one] < OF_ONE_CLIENT), None)
            if client is None:
                return
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind all others
            if not turn.done():  # the caller was cancelled
                self._held[client] += 1
                turn.set_result(None)
