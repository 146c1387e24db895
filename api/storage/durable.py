"""Writes and renames that survive a power cut. Every function blocks."""

import hashlib
import os
import secrets
from pathlib import Path


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file or folder once its own bytes are safe on the disk, and make the rename safe too."""
    _sync(source)
    source.rename(target)
    _sync(target.parent)


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file whole or not at all, even if several processes do so at once. `mode`: before the umask."""
    part = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
        rename_durably(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
