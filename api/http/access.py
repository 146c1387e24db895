"""API keys and rate limits of requests."""

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Protocol

from fastapi.security.utils import get_authorization_scheme_param

from api.errors import Forbidden, TooManyRequests, Unauthorized
from api.keys import KeyFile
from api.tasks.allowances import Allowance
from dice_talk.error_codes import ErrorCode

MINUTE_S = 60.0
SHARE, HELD_S = 0.02, 10.0
"""What share of a key's limit one of several servers asks for at once, and how long it may keep what it does not need:
with three servers, at most six of a hundred requests are admitted too few, or too late by ten seconds."""
HINT = "Send the header Authorization: Bearer KEY, with a key from the operator of this server."


class Rate(Protocol):
    """Counts the requests of each key."""

    limit: int  # in a minute

    async def count(self, name: str) -> float:
        """Count a request of a key. Returns 0, or how many seconds it is too early; then it is not counted."""
        ...


class OwnRate:
    """Implements `Rate` for one server."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: returns seconds."""
        self.limit, self._clock = limit, clock
        self._admitted: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=limit))

    async def count(self, name: str) -> float:
        """See `Rate.count`."""
        admitted, now = self._admitted[name], self._clock()
        if len(admitted) == self.limit and now - admitted[0] < MINUTE_S:
            return max(1.0, admitted[0] + MINUTE_S - now)
        admitted.append(now)
        return 0.0


class SharedRate:
    """Implements `Rate` for several servers, which ask for the right to admit some requests at once."""

    def __init__(
        self, limit: int, allow: Callable[[str, int, int], Allowance], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`allow`: see `TaskStore.allow_requests`. `clock`: returns seconds."""
        self.limit, self._allow, self._clock = limit, allow, clock
        self._held: dict[str, tuple[int, float]] = {}  # by key, how many more may come, and until when
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def count(self, name: str) -> float:
        """See `Rate.count`."""
        if self._take(name):
            return 0.0
        async with self._asking[name]:
            if self._take(name):  # another request has asked meanwhile
                return 0.0
            allowed = await asyncio.to_thread(self._allow, name, math.ceil(self.limit * SHARE), self.limit)
            if not allowed.requests:
                return max(1.0, allowed.wait_s)
            self._held[name] = allowed.requests - 1, self._clock() + HELD_S
        return 0.0

    def _take(self, name: str) -> bool:
        left, until = self._held.get(name, (0, 0.0))
        if not left or self._clock() > until:
            return False
        self._held[name] = left - 1, until
        return True


class Access:
    """Admits requests: everybody's if there is no key file, otherwise those with a key, up to a number per minute."""

    def __init__(self, keys: KeyFile | None, rate: Rate) -> None:
        self.keys = keys
        self._rate = rate

    async def admit(self, authorization: str | None) -> str | None:
        """Count a request and return the name of its key; None if no key is needed.

        Raises `Unauthorized`, `Forbidden` or `TooManyRequests`.
        """
        name = self.identify(authorization)
        if name is not None and (wait_s := await self._rate.count(name)):
            raise TooManyRequests(
                ErrorCode.RATE_LIMIT,
                "Too many requests",
                "At most {most} a minute are taken with one key. Ask less often.",
                {"Retry-After": str(math.ceil(wait_s))},
                most=self._rate.limit,
            )
        return name

    def identify(self, authorization: str | None) -> str | None:
        """Return the name of the key without counting the request. Raises `Unauthorized` or `Forbidden`."""
        if self.keys is None:
            return None
        scheme, secret = get_authorization_scheme_param(authorization)
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized(ErrorCode.KEY_MISSING, "An API key is needed", HINT, {"WWW-Authenticate": "Bearer"})
        key = self.keys.find(secret)
        if key is None:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise Unauthorized(ErrorCode.KEY_UNKNOWN, "The API key is not known", HINT, headers)
        if key.revoked:
            raise Forbidden(
                ErrorCode.KEY_REVOKED, "The API key was revoked", "Ask the operator of this server for another."
            )
        return key.name

    def is_valid(self, authorization: str | None) -> bool:
        """Whether a request that was admitted would still be."""
        try:
            self.identify(authorization)
        except (Unauthorized, Forbidden):
            return False
        return True
