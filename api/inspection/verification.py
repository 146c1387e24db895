"""Finds a video's labels, with `dice_talk.verify` in a child process, and whether this server made it."""

import asyncio
from pathlib import Path

from api.inspection.children import Children
from api.inspection.semaphore import FairSemaphore
from api.schemas.labels import Verified
from api.tasks.store import TaskStore
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError

TIMEOUT_S = 60.0


class Verification:
    """Inspects videos, a few at a time."""

    def __init__(self, store: TaskStore, children: Children) -> None:
        self._store, self._children = store, children
        self._semaphore = FairSemaphore()

    async def verify(self, video: Path, sha256: str, size: int) -> Verified:
        """Raises `DiceTalkError` for a file that is not a video, and what `FairSemaphore` and `Children` raise."""
        async with self._semaphore.acquire():
            found = await self._children.ask("dice_talk.verify", str(video), seconds=TIMEOUT_S)
        if "labels" not in found:
            raise DiceTalkError(
                ErrorCode.VIDEO_UNREADABLE, "The video can't be read", "Reading it took too much memory or time."
            )
        made_at = await asyncio.to_thread(self._store.made_at, sha256)
        return Verified(
            sha256=sha256,
            bytes=size,
            made_here=made_at is not None,
            made_at=made_at,
            labels=found["labels"],
        )
