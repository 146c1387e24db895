"""What time it is, for tasks."""

import time
from datetime import UTC, datetime, timedelta

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps, where there is one


class Clock:
    """Naive UTC, as the machine's clock showed it when this one was made, and all time gone by since.

    It does not follow when somebody sets the machine's clock: a day forth would make every video a day too old at once.
    """

    def __init__(self) -> None:
        self._start = datetime.now(UTC).replace(tzinfo=None)
        self._started = time.clock_gettime(_STEADY)

    def __call__(self) -> datetime:
        """Now."""
        return self._start + timedelta(seconds=time.clock_gettime(_STEADY) - self._started)
