"""The seam behind which files are stored: uploads, and everything that belongs to a render.

`RenderFiles` owns every name and every operation. `api.storage.local` implements it in a folder of this machine,
`api.storage.objects` in an object store. `api.storage.opening` chooses.
"""

from collections.abc import Collection, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dice_talk.error_codes import ErrorCode

Kept = Literal["poster", "receipt"]
"""What is made from a finished video and kept with it."""


class StorageFailure(OSError):
    """The storage does not answer, or refuses what it should not. Trying again later may help.

    The message is for clients; what the storage said is in the log.
    """

    def __init__(self, message: str = "the server's storage does not answer") -> None:
        super().__init__(message)


@dataclass(frozen=True)
class Problem:
    """Why nothing can be stored."""

    words: str
    code: ErrorCode


@dataclass(frozen=True)
class Upload:
    """A portrait and a recording in staging. Accepting them takes them away."""

    image: Path
    audio: Path
    image_hash: str  # SHA-256 in hex
    audio_hash: str


@dataclass(frozen=True)
class Attempt:
    """One attempt at a render. The token fences it: what an earlier attempt still writes changes nothing."""

    render_id: str
    token: str


@dataclass(frozen=True)
class Workspace:
    """Local paths for one attempt. `state` outlives the attempt: the next one resumes from it."""

    image: Path
    audio: Path
    output: Path
    state: Path


@dataclass(frozen=True)
class RenderPaths:
    """Local paths of a finished render's files."""

    image: Path
    audio: Path
    video: Path

    @property
    def complete(self) -> bool:
        """Whether all of them still exist. Blocking."""
        return all(path.exists() for path in (self.image, self.audio, self.video))


class OpenVideo(Protocol):
    """A video that is being downloaded. Removing it does not cut the download off."""

    size: int  # bytes

    async def seek(self, offset: int) -> object:
        """Go on from there with the next `read`."""
        ...

    async def read(self, size: int) -> bytes:
        """Return so many bytes, or fewer at the end. Raises `FileNotFoundError` or `StorageFailure`."""
        ...

    def close(self) -> None:
        """End the download."""
        ...

    def address(self, seconds: float) -> str | None:
        """Return where the storage itself gives the video to anybody for that time; None if it cannot."""
        ...


class Staging(Protocol):
    """A folder for the files of one upload."""

    def path(self, field: str) -> Path:
        """Return where the file of that form field belongs."""
        ...

    def upload(self, image_hash: str, audio_hash: str) -> Upload:
        """Describe the files of the fields `image` and `audio`, which were written."""
        ...


class RenderFiles(Protocol):
    """Stores the files of uploads and renders.

    Every method but `begin` blocks: async code calls it in a thread, and enters its contexts with
    `api.threads.entered`. Those that raise nothing else raise `StorageFailure`, except for the ones that tidy up: what
    `abandon`, `drop_state` and `drop_video` cannot remove goes with the render.
    """

    def problem(self) -> Problem | None:
        """Return why nothing more can be stored, or None."""
        ...

    def clean_up(self, known: Set[str], unfinished: Collection[str]) -> None:
        """Remove what a crash may have left behind: staged uploads, unfinished videos and files of unknown renders.

        `known`: ids of all renders; there may be millions, so ask for many at once: `ids & known`. `unfinished`: ids of
        those whose saved state is still needed. What is added meanwhile stays, so the service may run already. Storage
        that several servers share leaves alone what is young: it may belong to another one.
        """
        ...

    def stop_waiting(self) -> None:
        """Fail at once where storage that does not answer would be waited for, until the next attempt begins."""
        ...

    def staging(self) -> AbstractContextManager[Staging]:
        """Create an empty folder for one upload; it is removed at the end unless the upload was accepted."""
        ...

    def stage_again(self, render_id: str, staging: Staging) -> Upload:
        """Put a render's portrait and recording into staging. Raises `FileNotFoundError` if they are gone."""
        ...

    def send(self, upload: Upload, render_id: str) -> None:
        """Take an upload to the storage ahead of `accept`, which is quick then. `remove` takes it back."""
        ...

    def accept(self, upload: Upload, render_id: str) -> None:
        """Make an upload the input of a new render, all or nothing. It then survives a power cut."""
        ...

    def begin(self, render_id: str) -> Attempt:
        """Return a new attempt at a render. Does not block."""
        ...

    def workspace(self, attempt: Attempt) -> AbstractContextManager[Workspace]:
        """Provide local paths for an attempt. When the context ends, output and state are in the storage.

        If it ends with an exception, the output is not needed.
        """
        ...

    def commit(self, attempt: Attempt) -> str:
        """Make the attempt's output the render's video, all or nothing. Returns its SHA-256 in hex.

        Raises `FileNotFoundError` if there is no output, or the render was removed meanwhile.
        """
        ...

    def abandon(self, attempt: Attempt) -> None:
        """Remove the attempt's output, if it was not committed."""
        ...

    def drop_state(self, render_id: str) -> None:
        """Remove the saved state of a render that has ended."""
        ...

    def drop_video(self, render_id: str) -> None:
        """Remove a video that nobody wants."""
        ...

    def has_video(self, render_id: str) -> bool:
        """Whether the render's video exists."""
        ...

    def open_video(self, render_id: str) -> OpenVideo:
        """Open a video for download. Raises `FileNotFoundError`."""
        ...

    def paths(self, render_id: str) -> AbstractContextManager[RenderPaths]:
        """Provide a render's files as local ones, for as long as they are read."""
        ...

    def load(self, render_id: str, kept: Kept) -> bytes | None:
        """Return what was kept with a video, or None."""
        ...

    def keep(self, render_id: str, kept: Kept, data: bytes) -> None:
        """Keep something with a video, whole or not at all. Raises `OSError`."""
        ...

    def remove(self, *render_ids: str) -> list[str]:
        """Remove all files of renders. Returns the ids of those whose files are gone. Raises nothing."""
        ...
