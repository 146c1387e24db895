"""What labels a video carries, found by `dice_talk.verify` in a child process, and whether it was made here."""

import asyncio

from fastapi import UploadFile
from pydantic import BaseModel, Field

from api.children import Children
from api.places import Places
from api.schemas import FoundLabels, Timestamp
from api.store import TaskStore
from api.uploads import StoredFile
from dice_talk.errors import DiceTalkError

TIMEOUT_S = 60.0


class VideoForm(BaseModel):
    """A form with a video."""

    model_config = {"extra": "forbid"}

    video: UploadFile = Field(description="MP4, at most 500 MB.")


class Verified(BaseModel):
    """What is known of a video."""

    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    bytes: int = Field(examples=[212054])
    made_here: bool = Field(
        description="Whether it is, to the last bit, a video of this server, as far back as the server remembers."
    )
    made_at: Timestamp | None = Field(description="When; UTC.", examples=["2024-01-15T10:32:30"])
    labels: FoundLabels


class Verification:
    """Looks at videos, a few at a time."""

    def __init__(self, store: TaskStore, children: Children) -> None:
        self._store, self._children = store, children
        self._places = Places()

    async def look(self, form: VideoForm) -> Verified:
        """Raises `DiceTalkError` for a file that is no video, and what `Places` and `Children` raise."""
        if not isinstance(form.video, StoredFile):
            raise TypeError("the form was not read by receive_form")
        async with self._places.one():
            found = await self._children.ask("dice_talk.verify", str(form.video.path), seconds=TIMEOUT_S)
        if "labels" not in found:
            raise DiceTalkError("The video can't be read", "Reading it took too much memory or time.")
        sha256 = form.video.sha256
        made_at = await asyncio.to_thread(self._store.made_at, sha256)
        return Verified(
            sha256=sha256,
            bytes=form.video.size or 0,
            made_here=made_at is not None,
            made_at=made_at,
            labels=found["labels"],
        )
