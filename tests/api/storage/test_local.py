"""The data folder of this machine: what lies where, who may use it, and what a crash or a full disk does to it."""

import hashlib
import os
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from api.settings import Settings, StartError
from api.storage.files import Problem
from api.storage.local import CLEANED_AT_ONCE, LocalFiles, lock_data_folder
from dice_talk.error_codes import ErrorCode
from tests.api.made import has_output, inputs_of, staged, upload, video_of, work


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_data_folder_is_private_and_has_one_server(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    lock = lock_data_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(StartError, match="another server uses the data folder"):
        lock_data_folder(folder)
    lock.close()
    lock_data_folder(folder).close()


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartError, match=r"data cannot be used: File exists"):
        lock_data_folder(tmp_path / "data")


def test_a_render_is_one_folder(files: LocalFiles, settings: Settings) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    work(files, attempt, video=b"video", state=b"state")
    files.commit(attempt)
    files.keep("a", "poster", b"picture")
    files.keep("a", "receipt", b"{}")
    expected = [
        "a",
        *(f"a/{name}" for name in ("audio", "image", "measured.json", "poster.jpg", "result.mp4", "state")),
    ]
    assert names(settings.data_dir / "tasks") == expected
    assert names(settings.data_dir / "incoming") == []


def test_half_an_upload_never_becomes_a_render(files: LocalFiles, settings: Settings) -> None:
    """Accepting is one rename, so a folder of that name that is there already keeps its files."""
    upload(files, "a")
    with staged(files, b"another portrait") as second:
        with pytest.raises(OSError, match="not empty"):
            files.accept(second, "a")
        assert second.image.exists()
    assert inputs_of(files, "a")[0] == b"a portrait"


def test_a_commit_is_whole_or_not_at_all(files: LocalFiles) -> None:
    upload(files, "a")
    missing, first, second = (files.begin("a") for _ in range(3))
    with pytest.raises(FileNotFoundError):
        files.commit(missing)
    assert not files.has_video("a")
    for attempt, video in ((first, b"first"), (second, b"second")):
        work(files, attempt, video=video)
        assert files.commit(attempt) == hashlib.sha256(video).hexdigest()
        assert not has_output(files, attempt)
        assert video_of(files, "a") == video


def test_a_late_commit_of_a_removed_render_fails(files: LocalFiles, settings: Settings) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    assert files.remove("a")
    with pytest.raises(FileNotFoundError):
        files.commit(attempt)
    files.abandon(attempt)
    files.drop_state("a")
    files.drop_video("a")
    assert names(settings.data_dir / "tasks") == []


def test_a_retry_copies_no_byte(files: LocalFiles, settings: Settings) -> None:
    upload(files, "a")
    with files.staging() as staging:
        again = files.stage_again("a", staging)
        assert again.image.samefile(settings.data_dir / "tasks" / "a" / "image")
        assert again.audio.samefile(settings.data_dir / "tasks" / "a" / "audio")


def test_clean_up_after_a_crash(files: LocalFiles, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    (settings.data_dir / "incoming" / "half").mkdir(parents=True)
    for render_id in ("finished", "running", "unknown"):
        upload(files, render_id)
        attempt = files.begin(render_id)
        work(files, attempt, video=b"half a video", state=b"state")
    files.clean_up({"finished", "running"}, {"running"})
    kept = [f"{one}/{name}" for one in ("finished", "running") for name in ("audio", "image")]
    assert names(settings.data_dir / "tasks") == sorted(["finished", "running", *kept, "running/state"])
    assert names(settings.data_dir / "incoming") == []
    assert "removing unknown: no task refers to it" in caplog.text
    with staged(files) as next_one:
        assert next_one.image.exists(), "the folder for uploads is made when it is needed"


@pytest.mark.parametrize(("database_url", "left"), [(None, []), ("sqlite://", ["a", "a/audio", "a/image"])])
def test_an_empty_database_that_was_named_is_no_reason_to_remove_videos(
    settings: Settings, database_url: str | None, left: list[str]
) -> None:
    files = LocalFiles(settings.model_copy(update={"database_url": database_url}))
    upload(files, "a")
    files.clean_up(set(), set())
    assert names(settings.data_dir / "tasks") == left


def test_a_named_database_that_knows_some_renders_says_which_are_unknown(settings: Settings) -> None:
    files = LocalFiles(settings.model_copy(update={"database_url": "sqlite://"}))
    for render_id in ("a", "b"):
        upload(files, render_id)
    files.clean_up({"a"}, set())
    assert names(settings.data_dir / "tasks") == ["a", "a/audio", "a/image"]


def test_too_little_room(settings: Settings) -> None:
    full = LocalFiles(settings.model_copy(update={"min_free_mb": 1e12}))
    assert full.problem() == Problem("The server has too little room on its disk", ErrorCode.DISK_FULL)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(files: LocalFiles, settings: Settings) -> None:
    settings.data_dir.chmod(0o500)
    assert files.problem() == Problem("The server cannot write to its data folder", ErrorCode.DISK_FULL)
    settings.data_dir.chmod(0o700)


def test_removing_what_is_not_there(files: LocalFiles) -> None:
    assert files.remove("a")


def test_peers_may_be_in_the_middle_of_an_upload(settings: Settings) -> None:
    """What other servers staged or accepted lately is left alone, and what is old is removed."""
    several = settings.model_copy(update={"database_url": "postgresql+psycopg://x/y", "upload_seconds": 60})
    files, folder = LocalFiles(several), settings.data_dir
    for name in ("old", "new"):
        (folder / "incoming" / name).mkdir(parents=True)
        upload(files, name)
    upload(files, "known")
    for place in ("incoming", "tasks"):
        old = time.time() - 3600 - 61
        os.utime(folder / place / "old", (old, old))
    files.clean_up({"known"}, set())
    assert names(folder / "incoming") == ["new"]
    assert [name for name in names(folder / "tasks") if "/" not in name] == ["known", "new"]


def test_what_is_of_this_run_is_left_alone(files: LocalFiles, settings: Settings) -> None:
    """The service runs already while many files are looked at."""

    class Known(set[str]):
        def __rand__(self, some: AbstractSet[str]) -> set[str]:  # called before the folders are looked at
            time.sleep(0.02)  # the clock of files has coarse ticks
            work(files, files.begin("running"), video=b"half a video")
            upload(files, "new")
            return {"running"}

    upload(files, "running")
    upload(files, "unknown")
    files.clean_up(Known(["running"]), set())
    left = [name for name in names(settings.data_dir / "tasks") if "." in name or "/" not in name]
    assert [name.partition("/")[0] for name in left] == ["new", "running", "running"]


def test_many_folders_are_looked_at_in_pieces(files: LocalFiles, settings: Settings) -> None:
    for number in range(CLEANED_AT_ONCE + 5):
        (settings.data_dir / "tasks" / f"{number}").mkdir(parents=True)
    files.clean_up({"7"}, set())
    assert names(settings.data_dir / "tasks") == ["7"]


def test_the_data_folder_is_for_one_server_or_for_those_that_say_so(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path / "one"), pytest.raises(StartError, match="another server uses the data folder"):
        lock_data_folder(tmp_path / "one", shared=True)
    many = [lock_data_folder(tmp_path / "many", shared=True) for _ in range(2)]
    with pytest.raises(StartError, match="another server uses the data folder"):
        lock_data_folder(tmp_path / "many")
    for lock in many:
        lock.close()
