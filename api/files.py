"""Files that outlive a power cut, and downloads that outlive the file."""

import os
import secrets
from pathlib import Path

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


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


def keep(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, also when several do so at once. Blocking."""
    part = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        settle(part, path)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OpenedFile(FileResponse):
    """Sends a file that is open from the beginning, so that removing it meanwhile does not cut the download off.

    Raises `OSError` when made, while there can still be another answer. Blocking.
    """

    def __init__(self, file: Path, *, media_type: str, filename: str) -> None:
        self._file = file.open("rb")
        descriptor = self._file.fileno()
        super().__init__(
            f"/dev/fd/{descriptor}", media_type=media_type, filename=filename, stat_result=os.fstat(descriptor)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.close()

    def close(self) -> None:
        """For one that is not sent."""
        self._file.close()
