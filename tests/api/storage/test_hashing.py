"""Hashes of files."""

import hashlib
import os
from pathlib import Path

from api.storage.hashing import sha256_of


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
