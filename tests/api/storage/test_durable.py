"""Writes and renames: whole or not at all, and with the right mode."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.storage.durable import rename_durably, sha256_of, write_atomically


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"second"):
        write_atomically(path, data, mode=0o600)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path], "no part is left"


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(OSError, match="folder"):
        write_atomically(path, b"data")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", b"data")


def test_many_writers_never_leave_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomically(path, text), texts))
    assert path.read_bytes() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_renamed_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"data")
    rename_durably(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "file").read_bytes() == b"data"
    assert not (tmp_path / "a").exists()


def test_both_the_bytes_and_the_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    source = tmp_path / "a"
    source.write_bytes(b"data")
    (tmp_path / "elsewhere").mkdir()
    rename_durably(source, tmp_path / "elsewhere" / "b")
    target = tmp_path / "elsewhere" / "b"
    assert synced == [target.stat().st_ino, target.parent.stat().st_ino], "first the file, then the folder of its name"


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
