"""The clock that tasks go by."""

import time
from datetime import UTC, datetime, timedelta

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps, if there is one


class Clock:
    """Naive UTC: the machine's clock when this one was made, plus the time that has passed since.

    It does not follow later changes of the machine's clock: a jump by a day would make every video expire at once.
    """

    def __init__(self) -> None:
        self._start = datetime.now(UTC).replace(tzinfo=None)
        self._started = time.clock_gettime(_STEADY)

    def __call__(self) -> datetime:
        """Return the time."""
        return self._start + timedelta(seconds=time.clock_gettime(_STEADY) - self._started)
