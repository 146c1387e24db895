"""Files in the data folder of this machine."""

import fcntl
import logging
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import anyio

from api.settings import MEGABYTE, Settings, StartError
from api.storage.files import Attempt, Kept, Problem, RenderPaths, Staging, Upload, Workspace
from api.storage.hashing import sha256_of
from dice_talk.atomic import atomic_write, commit
from dice_talk.error_codes import ErrorCode

log = logging.getLogger(__name__)

IMAGE, AUDIO, VIDEO, STATE, PART = "image", "audio", "result.mp4", "state", ".part"
CLEANED_AT_ONCE = 200
"""Renders' folders, for one query of the database."""
PEERS_SPARED_S = 3600
"""How old leftovers have to be where other servers use the folder too."""
KEPT: dict[Kept, str] = {"poster": "poster.jpg", "receipt": "measured.json"}


def lock_data_folder(data_dir: Path, *, shared: bool = False) -> IO[str]:
    """Create and lock the data folder until the file is closed: two servers would remove each other's files.

    `shared`: whether others may lock it as well if they say the same. Raises `StartError`.
    """
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(mode=0o700, exist_ok=True)  # portraits and voices are private
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StartError(f"another server uses the data folder {data_dir}; set DICE_TALK_DATA_DIR") from error
    return lock


@dataclass(frozen=True)
class LocalStaging:
    """Implements `Staging` in a folder of its own."""

    folder: Path

    def path(self, field: str) -> Path:
        """See `Staging.path`. The fields `image` and `audio` have the names of a render's files."""
        return self.folder / field

    def upload(self, image_hash: str, audio_hash: str) -> Upload:
        """See `Staging.upload`."""
        return Upload(self.path(IMAGE), self.path(AUDIO), image_hash, audio_hash)


def _untouched(folder: Path, before: int) -> bool:
    """Whether nothing was added to a folder since that time in nanoseconds, nor taken out."""
    try:
        return folder.stat().st_mtime_ns <= before
    except FileNotFoundError:
        return False


class LocalVideo:
    """Implements `OpenVideo`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._reader = file, anyio.wrap_file(file)
        self.size = os.fstat(file.fileno()).st_size

    async def seek(self, offset: int) -> object:
        """See `OpenVideo.seek`."""
        return await self._reader.seek(offset)

    async def read(self, size: int) -> bytes:
        """See `OpenVideo.read`."""
        return await self._reader.read(size)

    def close(self) -> None:
        """See `OpenVideo.close`."""
        self._file.close()

    def address(self, seconds: float) -> str | None:
        """See `OpenVideo.address`."""
        return None


def disk_problem(folder: Path, min_free: float) -> Problem | None:
    """Return why the server can store nothing more in a folder of its own, or None. `min_free`: bytes."""
    if not os.access(folder, os.W_OK):
        return Problem("The server cannot write to its data folder", ErrorCode.DISK_FULL)
    if shutil.disk_usage(folder).free < min_free:
        return Problem("The server has too little room on its disk", ErrorCode.DISK_FULL)
    return None


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a new folder below `parent`, and remove it at the end if it is still there."""
    folder = parent / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class LocalFiles:
    """Implements `RenderFiles` below the data folder: a folder per render in `tasks`, one per upload in `incoming`.

    Both lie in one file system, so that an upload is accepted, and linked again for a retry, without copying a byte.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `StartError` if the folders cannot be created."""
        self._data, self._min_free = settings.data_dir, settings.min_free_mb * MEGABYTE
        self._renders, self._incoming = settings.data_dir / "tasks", settings.data_dir / "incoming"
        # A new database, perhaps by a mistyped URL, is no reason to remove anybody's videos.
        self._keep_unknown = settings.database_url is not None
        # What was changed since the start is of this run. Other servers may be in the middle of an upload.
        self._spared_ns = int((PEERS_SPARED_S + settings.upload_seconds) * 1e9) if settings.several_servers else 0
        try:
            self._renders.mkdir(exist_ok=True)
        except OSError as error:
            raise StartError(f"the data folder {self._data} cannot be used: {error.strerror}") from error

    def _folder(self, render_id: str) -> Path:
        return self._renders / render_id

    def problem(self) -> Problem | None:
        """See `RenderFiles.problem`."""
        return disk_problem(self._data, self._min_free)

    def clean_up(self, known: Set[str], unfinished: Collection[str]) -> None:
        """See `RenderFiles.clean_up`."""
        os.utime(self._renders)  # by the clock of the file system, which may be another machine's
        before = self._renders.stat().st_mtime_ns - self._spared_ns
        for folder in self._incoming.glob("*"):
            if _untouched(folder, before):
                shutil.rmtree(folder, ignore_errors=True)
        if not known and self._keep_unknown:
            return
        names = [entry.name for entry in os.scandir(self._renders)]
        names.sort(key=lambda name: name not in unfinished)  # these first, before they go on
        busy_s = 0.0
        for start in range(0, len(names), CLEANED_AT_ONCE):
            time.sleep(busy_s)  # half of the time is left to clients, who may wait for the interpreter's lock
            began, some = time.monotonic(), names[start : start + CLEANED_AT_ONCE]
            known_ones = set(some) & known
            for name in some:
                self._clean_folder(name, before, known=name in known_ones, ended=name not in unfinished)
            busy_s = time.monotonic() - began

    def _clean_folder(self, name: str, before: int, *, known: bool, ended: bool) -> None:
        folder = self._folder(name)
        parts = list(folder.glob(f"*{PART}"))  # before the look at the folder's age, which grows with a new part
        if not _untouched(folder, before):
            return
        if not known:
            log.warning("removing %s: no task refers to it", name)
            shutil.rmtree(folder, ignore_errors=True)
            return
        for leftover in (*parts, *([folder / STATE] if ended else [])):
            leftover.unlink(missing_ok=True)

    def stop_waiting(self) -> None:
        """See `RenderFiles.stop_waiting`. A disk is never waited for."""

    @contextmanager
    def staging(self) -> Iterator["LocalStaging"]:
        """See `RenderFiles.staging`."""
        with scratch_folder(self._incoming) as folder:
            yield LocalStaging(folder)

    def stage_again(self, render_id: str, staging: Staging) -> Upload:
        """See `RenderFiles.stage_again`. The files get a second name: no bytes are copied."""
        for name in (IMAGE, AUDIO):
            staging.path(name).hardlink_to(self._folder(render_id) / name)
        return staging.upload(sha256_of(staging.path(IMAGE)), sha256_of(staging.path(AUDIO)))

    def send(self, upload: Upload, render_id: str) -> None:
        """See `RenderFiles.send`. The upload is in the right place already."""

    def accept(self, upload: Upload, render_id: str) -> None:
        """See `RenderFiles.accept`. The staging folder becomes the render's."""
        commit(upload.image.parent, self._folder(render_id))

    def begin(self, render_id: str) -> Attempt:
        """See `RenderFiles.begin`."""
        return Attempt(render_id, secrets.token_hex(8))

    def _output(self, attempt: Attempt) -> Path:
        return self._folder(attempt.render_id) / f"{attempt.token}{PART}"

    @contextmanager
    def workspace(self, attempt: Attempt) -> Iterator[Workspace]:
        """See `RenderFiles.workspace`. The attempt works in the render's own folder."""
        folder = self._folder(attempt.render_id)
        yield Workspace(folder / IMAGE, folder / AUDIO, self._output(attempt), folder / STATE)

    def commit(self, attempt: Attempt) -> str:
        """See `RenderFiles.commit`."""
        sha256 = sha256_of(self._output(attempt))
        commit(self._output(attempt), self._folder(attempt.render_id) / VIDEO)
        return sha256

    def abandon(self, attempt: Attempt) -> None:
        """See `RenderFiles.abandon`."""
        self._output(attempt).unlink(missing_ok=True)

    def drop_state(self, render_id: str) -> None:
        """See `RenderFiles.drop_state`."""
        (self._folder(render_id) / STATE).unlink(missing_ok=True)

    def drop_video(self, render_id: str) -> None:
        """See `RenderFiles.drop_video`."""
        (self._folder(render_id) / VIDEO).unlink(missing_ok=True)

    def has_video(self, render_id: str) -> bool:
        """See `RenderFiles.has_video`."""
        return (self._folder(render_id) / VIDEO).exists()

    def open_video(self, render_id: str) -> LocalVideo:
        """See `RenderFiles.open_video`."""
        return LocalVideo((self._folder(render_id) / VIDEO).open("rb"))

    @contextmanager
    def paths(self, render_id: str) -> Iterator[RenderPaths]:
        """See `RenderFiles.paths`."""
        folder = self._folder(render_id)
        yield RenderPaths(folder / IMAGE, folder / AUDIO, folder / VIDEO)

    def load(self, render_id: str, kept: Kept) -> bytes | None:
        """See `RenderFiles.load`."""
        try:
            return (self._folder(render_id) / KEPT[kept]).read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, render_id: str, kept: Kept, data: bytes) -> None:
        """See `RenderFiles.keep`."""
        atomic_write(self._folder(render_id) / KEPT[kept], data)

    def remove(self, *render_ids: str) -> list[str]:
        """See `RenderFiles.remove`."""
        for one in render_ids:
            shutil.rmtree(self._folder(one), ignore_errors=True)
        return [one for one in render_ids if not self._folder(one).exists()]
