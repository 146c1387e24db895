"""Removes expired tasks, again and again."""

import asyncio
import logging

from api.service.synthesis import Synthesis

log = logging.getLogger(__name__)


async def sweep_forever(synthesis: Synthesis, every_seconds: float) -> None:
    """Sweep until cancelled. A sweep that fails is logged, and the next one tries again."""
    while True:
        try:
            await synthesis.sweep()
        except Exception:
            log.exception("A sweep failed")
        await asyncio.sleep(every_seconds)
