"""The first decoding of an upload, by `dice_talk.intake` in a child process."""

from dataclasses import dataclass

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


class Inspector:
    """Inspects uploads, a few at a time."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._places = Places()
        self._known: dict[tuple[str, str], Inputs] = {}  # by the hashes of both files, the latest last

    async def inspect(self, upload: Upload) -> Inputs:
        """Raises `DiceTalkError` for whichever file can't be used, `ChildFailed` when the child is to blame, or
        `QueueFull` after having waited for long.
        """
        hashes = upload.image_hash, upload.audio_hash
        inputs = self._known.pop(hashes, None)
        if inputs is None:
            async with self._places.one():  # and who waited for it may come after others with the same files
                inputs = self._known.pop(hashes, None) or await self._look(upload)
        self._known[hashes] = inputs
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return inputs

    async def _look(self, upload: Upload) -> Inputs:
        paths = str(upload.image), str(upload.audio)
        facts = await self._children.ask("dice_talk.intake", *paths, str(MAX_DURATION_S), seconds=TIMEOUT_S)
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
