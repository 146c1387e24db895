import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dice_talk.atomic import atomic_path, atomic_write, commit, discard_partial


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_file_appears_at_the_end_and_nothing_else_stays(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as part:
        part.write_text("new")
        assert part.parent == tmp_path and part.name.endswith(".part")
        assert not (tmp_path / "a.txt").exists()
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "new"


def test_an_error_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise KeyError
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_file_is_overwritten_only_where_that_is_allowed(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(FileExistsError, match=r"a\.txt is there already"), atomic_path(target, overwrite=False) as part:
        part.write_text("new")
    assert names(tmp_path) == ["a.txt"] and target.read_text() == "old"
    atomic_write(target, b"new")
    assert target.read_text() == "new"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("outer")
        second.write_text("inner")
    assert target.read_text() == "outer"


def test_the_mode_holds_before_anything_is_written(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "secret", mode=0o600) as part:
        assert part.stat().st_mode & 0o777 == 0o600
        part.write_text("key")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    atomic_write(tmp_path / "other", b"key", mode=0o600)
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o600


def test_content_and_name_reach_the_disk_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("x")
    flushed: list[tuple[str, bool]] = []

    def spy(descriptor: int) -> None:
        flushed.append((Path(f"/dev/fd/{descriptor}").resolve().name, target.exists()))

    monkeypatch.setattr(os, "fsync", spy)
    commit(source, target)
    assert flushed == [("source", False), (tmp_path.name, True)]


def test_a_folder_is_committed_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("x")
    commit(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target" / "a").read_text() == "x" and names(tmp_path) == ["target"]


@pytest.mark.parametrize(
    ("number", "of_folder", "fails"),
    [
        (errno.EINVAL, True, False),
        (errno.ENOTSUP, True, False),
        (errno.EIO, True, True),
        (errno.EINVAL, False, True),
    ],
)
def test_only_a_folder_that_cannot_be_flushed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, of_folder: bool, fails: bool
) -> None:
    def fsync(descriptor: int) -> None:
        if Path(f"/dev/fd/{descriptor}").resolve().is_dir() == of_folder:
            raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", fsync)
    if fails:
        with pytest.raises(OSError, match="no"):
            atomic_write(tmp_path / "a", b"x")
    else:
        atomic_write(tmp_path / "a", b"x")
        assert (tmp_path / "a").read_bytes() == b"x"


@pytest.fixture
def unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The current folder may be written, but not read; root gives up its rights for the test."""
    folder, was_root = tmp_path / "folder", os.geteuid() == 0
    folder.mkdir()
    monkeypatch.chdir(folder)
    if was_root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    Path().chmod(0o300)
    yield
    Path().chmod(0o700)
    if was_root:
        os.seteuid(0)


def test_a_file_is_written_into_a_folder_that_cannot_be_read(unreadable_folder: None) -> None:
    with pytest.raises(PermissionError):
        list(Path().iterdir())
    atomic_write(Path("a"), b"x")
    assert Path("a").read_bytes() == b"x"


def test_a_file_that_cannot_be_read_is_not_committed(unreadable_folder: None) -> None:
    """Then it is unknown whether its content would survive a power cut."""
    Path("a").write_bytes(b"x")
    Path("a").chmod(0o200)
    with pytest.raises(PermissionError):
        commit(Path("a"), Path("b"))
    assert Path("a").exists() and not Path("b").exists()


def test_what_interrupted_writes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.0123456789abcdef.part", ".ab.0123456789abcdef.part", "a", "a.part"):
        (tmp_path / name).touch()
    discard_partial(tmp_path / "a")
    assert names(tmp_path) == [".ab.0123456789abcdef.part", "a", "a.part"]
    discard_partial(tmp_path / "gone" / "a")


def test_a_name_is_not_a_pattern(tmp_path: Path) -> None:
    for name in (".v[1].mp4.0123456789abcdef.part", ".v1.mp4.0123456789abcdef.part"):
        (tmp_path / name).touch()
    discard_partial(tmp_path / "v[1].mp4")
    assert names(tmp_path) == [".v1.mp4.0123456789abcdef.part"]
