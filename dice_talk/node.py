"""What a machine needs to render for a server on another one: what it offers to Ray, and a folder to work in.

Nothing in that folder outlives its task, not even after a crash.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

RESOURCE = "dice_talk_slot"
"""The custom resource of Ray that a node offers one of for each render that it takes at a time."""
NODE = "DICE_TALK_NODE"
"""The variable that names the folder of the process that started the node, for all processes of the node."""
LOCK, DRAINING = "lock", "draining"


class Scratch:
    """A process's own folder. It is locked for as long as the process lives."""

    def __init__(self, base: Path | None = None) -> None:
        """Also removes the folders of processes that have ended. Raises `OSError`. Blocking."""
        base = base or default_base()
        with _locked(base / LOCK, fcntl.LOCK_EX):  # nobody else takes a new folder for a leftover
            _clear(base)
            self.folder = Path(tempfile.mkdtemp(dir=base, prefix=_prefix(os.environ.get(NODE, ""))))
            self._lock = _lock(self.folder / LOCK, fcntl.LOCK_EX)

    @contextmanager
    def job(self, number: int) -> Iterator[Path]:
        """Provide an empty folder for a job. Blocking."""
        folder = self.folder / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder. Blocking."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def is_draining() -> bool:
    """Whether the node that this process belongs to takes nothing new. Blocking."""
    folder = os.environ.get(NODE)
    return folder is not None and (Path(folder) / DRAINING).exists()


def is_rendering(node: Scratch) -> bool:
    """Whether any process of the node has a job. `node`: of the process that started it. Blocking."""
    jobs = node.folder.parent.glob(f"{_prefix(str(node.folder))}*/*")
    return any(path.is_dir() for path in jobs)


def _prefix(node: str) -> str:
    return f"{Path(node).name or 'node'}-"


def default_base() -> Path:
    """Return the folder of all processes of this user and machine, and create it. Raises `OSError`."""
    base = Path(tempfile.gettempdir()) / f"dice-talk-node-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)  # portraits and voices are private
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else; remove it, or set TMPDIR")
    base.chmod(0o700)
    return base


def clear_leftovers(base: Path) -> None:
    """Remove the folders whose processes have ended. Blocking."""
    with _locked(base / LOCK, fcntl.LOCK_EX):
        _clear(base)


def _clear(base: Path) -> None:
    for folder in base.iterdir():
        if not folder.is_dir():
            continue
        try:
            _lock(folder / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB).close()
        except BlockingIOError:
            continue
        except OSError:  # it has no lock, or goes at this moment
            pass
        shutil.rmtree(folder, ignore_errors=True)


def _lock(path: Path, kind: int) -> IO[str]:
    file = path.open("w")
    try:
        fcntl.flock(file, kind)
    except OSError:
        file.close()
        raise
    return file


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with _lock(path, kind):
        yield
