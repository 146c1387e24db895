"""Sweeping goes on, whatever one sweep meets."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from api.service.sweeper import sweep_forever
from tests.api.made import NOW
from tests.api.parts import Parts


def test_what_is_too_old_goes_again_and_again(
    parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        parts.wait(name)
        parts.finish(name)
    expired, failures = parts.store.expired, [sa.exc.OperationalError("SQL", {}, Exception("disk I/O error"))]

    def fail_once(before: object) -> list[str]:
        if failures:
            raise failures.pop()
        return expired(parts.times[0] - timedelta(hours=24))

    monkeypatch.setattr(parts.store, "expired", fail_once)

    async def scenario() -> None:
        sweeping = asyncio.create_task(sweep_forever(parts.synthesis, 0.001))
        parts.times[0] = NOW + timedelta(hours=25)
        async with asyncio.timeout(10):
            while parts.store.render_ids():
                await asyncio.sleep(0.01)
        assert not sweeping.done()
        sweeping.cancel()
        await asyncio.wait([sweeping])
        assert sweeping.cancelled()

    asyncio.run(scenario())
    assert "A sweep failed" in caplog.text
    assert not parts.files.has_video("a")
