"""API keys and rate limits of requests."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable

from fastapi.security.utils import get_authorization_scheme_param

from api.errors import Forbidden, TooManyRequests, Unauthorized
from api.keys import KeyFile
from dice_talk.error_codes import ErrorCode

MINUTE_S = 60.0
HINT = "Send the header Authorization: Bearer KEY, with a key from the operator of this server."


class Access:
    """Admits requests: everybody's if there is no key file, otherwise those with a key, up to a number per minute."""

    def __init__(
        self, keys: KeyFile | None, requests_per_minute: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: returns seconds."""
        self.keys = keys
        self._limit, self._clock = requests_per_minute, clock
        self._admitted: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=requests_per_minute))

    def admit(self, authorization: str | None) -> str | None:
        """Count a request and return the name of its key; None if no key is needed.

        Raises `Unauthorized`, `Forbidden` or `TooManyRequests`.
        """
        name = self.identify(authorization)
        if name is not None:
            self._count(name)
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

    def _count(self, name: str) -> None:
        """Raises `TooManyRequests` if the limit was reached within the last minute. Refused requests do not count."""
        admitted, now = self._admitted[name], self._clock()
        if len(admitted) == self._limit and now - admitted[0] < MINUTE_S:
            wait = math.ceil(admitted[0] + MINUTE_S - now)
            raise TooManyRequests(
                ErrorCode.RATE_LIMIT,
                "Too many requests",
                "At most {most} a minute are taken with one key. Ask less often.",
                {"Retry-After": str(max(1, wait))},
                most=self._limit,
            )
        admitted.append(now)
