"""Where files lie below the data folder, and whether there is room for more."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from api.dispatcher import STATE_FILE
from api.files import sha256_of
from api.settings import MEGABYTE, Settings
from api.store import TaskStore

log = logging.getLogger(__name__)


def render_folder(settings: Settings, render_id: str) -> Path:
    """Where a render's files lie: image, audio and, when it is done, result.mp4."""
    return settings.data_dir / "tasks" / render_id


def staging_folder(settings: Settings) -> Path:
    """Where uploads lie until they are accepted."""
    return settings.data_dir / "incoming"


@dataclass(frozen=True)
class Upload:
    """Two files in a folder of their own, which an accepted task takes with it."""

    folder: Path
    image_hash: str  # SHA-256 in hex
    audio_hash: str

    @property
    def image(self) -> Path:
        """The portrait."""
        return self.folder / "image"

    @property
    def audio(self) -> Path:
        """The speech."""
        return self.folder / "audio"


def link_inputs(source: Path, target: Path) -> Upload:
    """Gives a render's files a second name, in a new folder: no bytes are copied. Blocking.

    Raises `FileNotFoundError` when they were removed.
    """
    target.mkdir(parents=True)
    hashes = []
    for name in ("image", "audio"):
        (target / name).hardlink_to(source / name)
        hashes.append(sha256_of(target / name))
    return Upload(target, *hashes)


def remove_folder(folder: Path) -> bool:
    """Whether it is gone. Blocking."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def storage_problem(settings: Settings) -> str | None:
    """Why nothing more can be stored; None when all is well."""
    if not os.access(settings.data_dir, os.W_OK):
        return "The server cannot write to its data folder"
    if shutil.disk_usage(settings.data_dir).free < settings.min_free_mb * MEGABYTE:
        return "The server has too little room on its disk"
    return None


def clear_leftovers(settings: Settings, store: TaskStore) -> None:
    """Removes what a crash may leave: half uploads, half videos, states of renders that have ended since, and folders
    whose row was never written or is already gone.
    """
    shutil.rmtree(staging_folder(settings), ignore_errors=True)
    known = store.render_ids()
    if not known and settings.database_url:
        return  # a new database, perhaps by a mistyped URL: no reason to remove anybody's videos
    unfinished = {render.id for render in store.unfinished()}
    for folder in (settings.data_dir / "tasks").iterdir():
        if folder.name not in known:
            log.warning("removing %s: no task refers to it", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            continue
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)
        if folder.name not in unfinished:
            (folder / STATE_FILE).unlink(missing_ok=True)
