"""The service's clock starts with the machine's and does not follow it."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from api import clock
from api.clock import Clock


def test_it_shows_naive_utc() -> None:
    now = Clock()()
    assert now.tzinfo is None
    assert abs(now - datetime.now(UTC).replace(tzinfo=None)) < timedelta(seconds=5)


def test_it_never_goes_back() -> None:
    now = Clock()
    seen = [now() for _ in range(1000)]
    assert seen == sorted(seen)


def test_it_goes_on_with_the_steady_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody puts the machine's clock a day forth; meanwhile a minute goes by."""
    steady = [100.0]
    monkeypatch.setattr(time, "clock_gettime", lambda which: steady[0])
    now = Clock()
    began = now()

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            raise AssertionError("it is asked once")

    monkeypatch.setattr(clock, "datetime", Tomorrow)
    steady[0] += 60
    assert now() - began == timedelta(minutes=1)
