"""Moving files so that they outlive a power cut."""

import os
from pathlib import Path


def settle(source: Path, target: Path) -> None:
    """Renames a file or folder once its own bytes are safe on the disk, and makes the renaming safe too. Blocking."""
    _sync(source)
    source.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
