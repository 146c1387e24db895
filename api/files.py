"""Writing and moving files so that they outlive a power cut."""

import os
from pathlib import Path


def settle(source: Path, target: Path) -> None:
    """Renames a file or folder once its own bytes are safe on the disk, and makes the renaming safe too. Blocking."""
    _sync(source)
    source.rename(target)
    _sync(target.parent)


def write_private(path: Path, text: str) -> None:
    """Writes a file for its owner's eyes only, all or nothing. Blocking."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
