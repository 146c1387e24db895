"""Inspects uploads with `dice_talk.intake` in a child process."""

from dataclasses import dataclass, field
from typing import Any

from api.inspection.children import Children
from api.inspection.semaphore import FairSemaphore
from api.storage.files import Upload
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidAudio, InvalidImage
from dice_talk.options import MAX_DURATION_S

TIMEOUT_S = 60.0
REMEMBERED = 1000
"""Uploads. A client that tries one portrait with several emotions waits for its inspection once."""
TOO_MUCH = "Reading it took too much memory or time."


@dataclass(frozen=True)
class Inputs:
    """What an upload holds."""

    width: int  # pixels, upright
    height: int
    seconds: float  # of audio, at most 300
    warnings: list[dict[str, Any]] = field(default_factory=list)  # as in preflight


class Inspector:
    """Inspects uploads, a few at a time, and remembers the latest ones."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._semaphore = FairSemaphore()
        # By the hashes of both files and the seconds of audio that are wanted; the latest last.
        self._known: dict[tuple[str, str, float | None], Inputs] = {}

    async def inspect(self, upload: Upload, duration: float | None = None) -> Inputs:
        """Return what an upload holds. `duration`: seconds of video that are wanted; None: all.

        Raises `DiceTalkError` for a file that cannot be used, `ChildFailed` or `Unavailable` if the child process
        failed, and `QueueFull` after a long wait.
        """
        key = upload.image_hash, upload.audio_hash, duration
        inputs = self._known.pop(key, None)
        if inputs is None:
            async with self._semaphore.acquire():  # another request may have inspected the same files meanwhile
                inputs = self._known.pop(key, None) or await self._inspect(upload, duration)
        self._known[key] = inputs
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return inputs

    async def _inspect(self, upload: Upload, duration: float | None) -> Inputs:
        paths = str(upload.image), str(upload.audio)
        lengths = str(MAX_DURATION_S), str(duration or MAX_DURATION_S)
        facts = await self._children.ask("dice_talk.intake", *paths, *lengths, seconds=TIMEOUT_S)
        if "width" not in facts:
            raise undecodable_image()
        if "seconds" not in facts:
            raise undecodable_audio()
        return Inputs(**facts)


def undecodable_image() -> InvalidImage:
    """Return the error for a picture that the child process did not finish."""
    return InvalidImage(ErrorCode.IMAGE_UNREADABLE, "The image can't be decoded", TOO_MUCH)


def undecodable_audio() -> InvalidAudio:
    """Return the error for a recording that the child process did not finish."""
    return InvalidAudio(ErrorCode.AUDIO_UNREADABLE, "The audio can't be decoded", TOO_MUCH)
