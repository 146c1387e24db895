"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(target: Path, *, replace: bool) -> Iterator[Path]:
    """A path beside `target` to write to. It becomes `target` where all goes well, and is removed otherwise.

    Raises `FileExistsError` where `target` is there and may not be replaced.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        if not replace and target.exists():
            raise FileExistsError(f"{target} is there already")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
