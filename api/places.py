"""Places for children that look at files: few at a time, and never all of them for one client."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address

import anyio

from api.errors import QueueFull

AT_ONCE = 3
"""Children of one kind: more would only compete for the cores that render."""
OF_ONE_CLIENT = AT_ONCE - 1
"""A client whose files take all the time they may leaves one place to the others."""
WAIT_S = 120.0
"""Most clients give up sooner. See docs/security.md."""
RETRY_S = 30
IPV6_NETWORK = 64
"""Bits: a subscriber has all addresses of such a network."""

caller: ContextVar[str] = ContextVar("caller", default="")
"""For whom this request is served: the name of a key, or where none is needed, an address."""
address: ContextVar[str] = ContextVar("address", default="")
"""Where this request comes from."""


def client_of(owner: str | None, host: str | None) -> str:
    """What `caller` is set to."""
    if owner is not None or host is None:
        return owner or ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket, or a test's client
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or int(address) >> 128 - IPV6_NETWORK)


class Places:
    """The clients that wait take turns, each with what it sent first."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # whose turn is next comes first

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around one child of `caller`'s. Raises `QueueFull` after two minutes."""
        client = caller.get()
        await self._take(client)
        try:
            yield
        finally:
            self._give_back(client)

    async def _take(self, client: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._grant()
        try:
            with anyio.fail_after(WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self._give_back(client)
            else:
                self._leave(client, turn)
            if isinstance(error, TimeoutError):
                detail = f"These files waited {WAIT_S:g} seconds. Try again later."
                raise QueueFull("Too many files are being looked at", detail, {"Retry-After": str(RETRY_S)}) from None
            raise

    def _leave(self, client: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(client, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(client, None)

    def _give_back(self, client: str) -> None:
        self._held[client] -= 1
        self._held += Counter()  # forgets those who hold none
        self._grant()

    def _grant(self) -> None:
        """Gives free places to those whose turn it is."""
        while self._held.total() < AT_ONCE:
            client = next((one for one in self._waiting if self._held[one] < OF_ONE_CLIENT), None)
            if client is None:
                return
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind all others
            if not turn.done():  # nobody waits for one that was cancelled
                self._held[client] += 1
                turn.set_result(None)
