"""The seam behind which files are stored: uploads, and everything that belongs to a render.

`RenderFiles` owns every name and every operation. Another kind of storage is another class with these methods;
`api.storage.local` is the one for a folder of this machine.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

Kept = Literal["poster", "receipt"]
"""What is made from a finished video and kept with it."""


@dataclass(frozen=True)
class Upload:
    """A portrait and a recording in staging, in a folder of their own. Accepting the upload takes the folder away."""

    folder: Path
    image: Path
    audio: Path
    image_hash: str  # SHA-256 in hex
    audio_hash: str


@dataclass(frozen=True)
class Attempt:
    """Local paths for one attempt at a render.

    `output` belongs to this attempt alone, so what an earlier one still writes changes nothing. `state` is shared by
    all attempts: the next one resumes from it.
    """

    render_id: str
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


class RenderFiles(Protocol):
    """Stores the files of uploads and renders. Every method blocks: call it in a thread from async code."""

    def problem(self) -> str | None:
        """Return why nothing more can be stored, or None."""
        ...

    def clean_up(self, known: Collection[str], unfinished: Collection[str]) -> None:
        """Remove what a crash may have left behind: staged uploads, unfinished videos and files of unknown renders.

        `known`: ids of all renders. `unfinished`: ids of those whose saved state is still needed.
        """
        ...

    def staging(self) -> AbstractContextManager[Path]:
        """Create an empty folder for one upload; it is removed at the end unless the upload was accepted."""
        ...

    def upload(self, folder: Path, image_hash: str, audio_hash: str) -> Upload:
        """Describe the files `image` and `audio` that were written to a staging folder."""
        ...

    def stage_again(self, render_id: str, folder: Path) -> Upload:
        """Put a render's portrait and recording into a staging folder. Raises `FileNotFoundError` if they are gone."""
        ...

    def accept(self, upload: Upload, render_id: str) -> None:
        """Make an upload the input of a new render, all or nothing. It then survives a power cut."""
        ...

    def begin(self, render_id: str) -> Attempt:
        """Return the paths for a new attempt at a render."""
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
