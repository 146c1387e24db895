"""The seam behind which files are stored: uploads, and everything that belongs to a render.

`RenderFiles` owns every name and every operation. Another kind of storage is another class with these methods;
`api.storage.local` is the one for a folder of this machine.
"""

from collections.abc import Collection, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

Kept = Literal["poster", "receipt"]
"""What is made from a finished video and kept with it."""


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
    `api.threads.entered`.
    """

    def problem(self) -> str | None:
        """Return why nothing more can be stored, or None."""
        ...

    def clean_up(self, known: Set[str], unfinished: Collection[str]) -> None:
        """Remove what a crash may have left behind: staged uploads, unfinished videos and files of unknown renders.

        `known`: ids of all renders; there may be millions, so ask for many at once: `ids & known`. `unfinished`: ids of
        those whose saved state is still needed. What is added meanwhile stays, so the service may run already.
        """
        ...

    def staging(self) -> AbstractContextManager[Staging]:
        """Create an empty folder for one upload; it is removed at the end unless the upload was accepted."""
        ...

    def stage_again(self, render_id: str, staging: Staging) -> Upload:
        """Put a render's portrait and recording into staging. Raises `FileNotFoundError` if they are gone."""
        ...

    def accept(self, upload: Upload, render_id: str) -> None:
        """Make an upload the input of a new render, all or nothing. It then survives a power cut."""
        ...

    def begin(self, render_id: str) -> Attempt:
        """Return a new attempt at a render. Does not block."""
        ...

    def workspace(self, attempt: Attempt) -> AbstractContextManager[Workspace]:
        """Provide local paths for an attempt. When the context ends, output and state are in the storage."""
        ...

    def commit(self, attempt: Attempt) -> str:
        """Make the attempt's output the render's video, all or nothing. Returns its SHA-256 in hex."""
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

    def open_video(self, render_id: str) -> BinaryIO:
        """Open a video for download. Removing it does not cut the download off. Raises `FileNotFoundError`."""
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

    def remove(self, render_id: str) -> bool:
        """Remove all files of a render. Returns whether they are gone."""
        ...
