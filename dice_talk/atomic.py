"""Atomic writes: a file appears whole or not at all, even after a crash or a power cut. All functions block."""

import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""Errors of file systems that cannot flush a folder."""


@contextmanager
def atomic_path(target: Path, *, overwrite: bool = True, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `target`. The file written there becomes `target` when the block succeeds.

    It is removed when the block raises. `mode`: permissions of the file, from the moment it is created. Raises
    `FileExistsError` when `target` exists and `overwrite` is false.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        if mode is not None:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield part
        if not overwrite and target.exists():
            raise FileExistsError(f"{target} is there already")
        commit(part, target)
    finally:
        part.unlink(missing_ok=True)


def atomic_write(target: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace the content of `target` in one step. `mode`: see `atomic_path`."""
    with atomic_path(target, mode=mode) as part:
        part.write_bytes(data)


def commit(source: Path, target: Path) -> None:
    """Flush a file or folder to the disk, rename it to `target`, and flush the renaming too."""
    _sync(source)
    source.replace(target)
    with suppress(PermissionError):  # a folder that may be written but not read cannot be opened to flush it
        _sync(target.parent)


def discard_partial(target: Path) -> None:
    """Remove the temporary files that interrupted writes of `target` left behind."""
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
