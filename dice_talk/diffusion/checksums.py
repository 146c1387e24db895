"""Sizes and SHA-256 sums of downloads, noted in the checkpoints folder. Imports only the standard library."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dice_talk.atomic import atomic_write

CHECKSUMS = "checksums.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checksum:
    """The checksum of a file as it was downloaded. `size` in bytes."""

    size: int
    sha256: str


def checksum_of(path: Path) -> Checksum:
    """Return the checksum of a file, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return Checksum(path.stat().st_size, digest.hexdigest())


def checksums(folder: Path) -> dict[str, Checksum]:
    """Return the noted checksums by path; {} if they cannot be read."""
    try:
        noted = json.loads((folder / CHECKSUMS).read_text())
        return {path: Checksum(int(entry["size"]), str(entry["sha256"])) for path, entry in noted.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def note(folder: Path, path: str, checksum: Checksum) -> None:
    """Note the checksum of a file that was downloaded."""
    noted = {name: asdict(entry) for name, entry in {**checksums(folder), path: checksum}.items()}
    atomic_write(folder / CHECKSUMS, (json.dumps(noted, indent=2, sort_keys=True) + "\n").encode())
