"""Checksums of downloads, as they are noted in the checkpoints folder."""

import hashlib
import json
from pathlib import Path

import pytest

from dice_talk.diffusion import checksums
from dice_talk.diffusion.checksums import CHECKSUMS, Checksum, checksum_of, note

FIRST, SECOND = Checksum(3, "aa"), Checksum(5, "bb")


@pytest.mark.parametrize("size", [0, 7, 8, 9, 25])
def test_a_file_is_read_to_its_end(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_BLOCK", 8)
    data = bytes(range(size))
    (tmp_path / "file").write_bytes(data)
    assert checksum_of(tmp_path / "file") == Checksum(size, hashlib.sha256(data).hexdigest())


def test_notes_are_kept_together(tmp_path: Path) -> None:
    note(tmp_path, "a", FIRST)
    note(tmp_path, "folder/b", SECOND)
    assert checksums.checksums(tmp_path) == {"a": FIRST, "folder/b": SECOND}
    note(tmp_path, "a", SECOND)
    assert checksums.checksums(tmp_path) == {"a": SECOND, "folder/b": SECOND}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKSUMS]


def test_the_form_of_the_file(tmp_path: Path) -> None:
    note(tmp_path, "b", FIRST)
    note(tmp_path, "a", SECOND)
    noted = json.loads((tmp_path / CHECKSUMS).read_text())
    assert noted == {"a": {"size": 5, "sha256": "bb"}, "b": {"size": 3, "sha256": "aa"}}
    assert list(noted) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"3",
        b'{"a": 3}',
        b'{"a": {"size": 3}}',
        b'{"a": {"size": "many", "sha256": "aa"}}',
        b'{"a": {"size": null, "sha256": "aa"}}',
        b"[" * 100_000,
    ],
)
def test_notes_that_cannot_be_read_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKSUMS).write_bytes(content)
    assert checksums.checksums(tmp_path) == {}
    note(tmp_path, "a", FIRST)
    assert checksums.checksums(tmp_path) == {"a": FIRST}


def test_there_need_be_no_notes(tmp_path: Path) -> None:
    assert checksums.checksums(tmp_path / "nowhere") == {}
