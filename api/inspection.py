"""The first decoding of an upload, by `dice_talk.intake` in a child process."""

from dataclasses import dataclass, field
from typing import Any

from api.children import Children
from api.places import Places
from api.storage import Upload
from dice_talk.errors import InvalidAudio, InvalidImage
from dice_talk.options import MAX_DURATION_S

TIMEOUT_S = 60.0
REMEMBERED = 1000
"""Uploads; who tries one portrait with several emotions, one after the other, waits for it to be read but once."""
TOO_MUCH = "Reading it took too much memory or time."


@dataclass(frozen=True)
class Inputs:
    """What an upload holds."""

    width: int  # pixels, upright
    height: int
    seconds: float  # of audio, at most 300
    warnings: list[dict[str, Any]] = field(default_factory=list)  # as preflight has them


class Inspector:
    """Inspects uploads, a few at a time."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._places = Places()
        # By the hashes of both files and how much of the audio is wanted, the latest last.
        self._known: dict[tuple[str, str, float | None], Inputs] = {}

    async def inspect(self, upload: Upload, duration: float | None = None) -> Inputs:
        """`duration`: seconds of video that are wanted, None for all. Raises `DiceTalkError` for a file that can't be
        used, `ChildFailed` or `Unavailable` when the child is to blame, or `QueueFull` after having waited for long.
        """
        key = upload.image_hash, upload.audio_hash, duration
        inputs = self._known.pop(key, None)
        if inputs is None:
            async with self._places.one():  # and who waited for it may come after others with the same files
                inputs = self._known.pop(key, None) or await self._look(upload, duration)
        self._known[key] = inputs
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return inputs

    async def _look(self, upload: Upload, duration: float | None) -> Inputs:
        paths = str(upload.image), str(upload.audio)
        lengths = str(MAX_DURATION_S), str(duration or MAX_DURATION_S)
        facts = await self._children.ask("dice_talk.intake", *paths, *lengths, seconds=TIMEOUT_S)
        if "width" not in facts:
            raise undecodable_image()
        if "seconds" not in facts:
            raise undecodable_audio()
        return Inputs(**facts)


def undecodable_image() -> InvalidImage:
    """A picture that the child came to no end with."""
    return InvalidImage("The image can't be decoded", TOO_MUCH)


def undecodable_audio() -> InvalidAudio:
    """The same for a recording."""
    return InvalidAudio("The audio can't be decoded", TOO_MUCH)
