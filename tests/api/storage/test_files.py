"""What every implementation of `RenderFiles` promises: that of a folder, and one that keeps all in memory."""

import hashlib
from pathlib import Path

import pytest

from api.settings import Settings
from api.storage.files import RenderFiles
from api.storage.local import LocalFiles
from tests.api.made import AUDIO, IMAGE, staged, upload
from tests.api.storage.memory import MemoryFiles


@pytest.fixture(params=["folder", "memory"])
def files(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> RenderFiles:
    return LocalFiles(settings) if request.param == "folder" else MemoryFiles(tmp_path)


def finish(files: RenderFiles, render_id: str, video: bytes = b"a video") -> str:
    upload(files, render_id)
    attempt = files.begin(render_id)
    attempt.output.write_bytes(video)
    return files.commit(attempt)


def test_an_upload_becomes_a_renders_input(files: RenderFiles) -> None:
    with staged(files) as uploaded:
        files.accept(uploaded, "a")
        assert not uploaded.folder.exists()
    attempt = files.begin("a")
    assert (attempt.render_id, attempt.image.read_bytes(), attempt.audio.read_bytes()) == ("a", IMAGE, AUDIO)
    assert not attempt.output.exists()
    assert not files.has_video("a")


def test_what_was_not_accepted_goes(files: RenderFiles) -> None:
    with files.staging() as folder:
        assert list(folder.iterdir()) == []
        (folder / "image").write_bytes(IMAGE)
    assert not folder.exists()


def test_a_committed_video_can_be_downloaded_also_while_it_is_removed(files: RenderFiles) -> None:
    assert finish(files, "a") == hashlib.sha256(b"a video").hexdigest()
    assert files.has_video("a")
    with files.open_video("a") as video:
        assert files.remove("a")
        assert video.read() == b"a video"
    assert not files.has_video("a")
    with pytest.raises(FileNotFoundError):
        files.open_video("a")


def test_attempts_have_outputs_of_their_own_and_one_state(files: RenderFiles) -> None:
    upload(files, "a")
    first, second = files.begin("a"), files.begin("a")
    assert first.output != second.output
    first.state.write_bytes(b"half way")
    assert second.state.read_bytes() == b"half way"
    second.output.write_bytes(b"second")
    files.commit(second)
    first.output.write_bytes(b"first, too late")
    files.abandon(first)
    assert not first.output.exists()
    with files.open_video("a") as video:
        assert video.read() == b"second"
    files.drop_state("a")
    assert not files.begin("a").state.exists()


def test_abandoning_what_was_committed_or_never_written_changes_nothing(files: RenderFiles) -> None:
    upload(files, "a")
    unwritten, written = files.begin("a"), files.begin("a")
    files.abandon(unwritten)
    written.output.write_bytes(b"a video")
    files.commit(written)
    files.abandon(written)
    assert files.has_video("a")


def test_a_video_that_nobody_wants_goes_and_the_inputs_stay(files: RenderFiles) -> None:
    finish(files, "a")
    for _ in range(2):
        files.drop_video("a")
        assert not files.has_video("a")
    assert files.begin("a").image.read_bytes() == IMAGE


def test_a_retry_gets_the_same_files_in_a_place_of_its_own(files: RenderFiles) -> None:
    finish(files, "a")
    with files.staging() as folder:
        again = files.stage_again("a", folder)
        assert (again.folder, again.image.read_bytes(), again.audio.read_bytes()) == (folder, IMAGE, AUDIO)
        assert again.image_hash == hashlib.sha256(IMAGE).hexdigest()
        assert again.audio_hash == hashlib.sha256(AUDIO).hexdigest()
        files.accept(again, "b")
    files.remove("a")
    assert files.begin("b").audio.read_bytes() == AUDIO


def test_a_retry_of_what_is_gone(files: RenderFiles) -> None:
    with files.staging() as folder, pytest.raises(FileNotFoundError):
        files.stage_again("a", folder)


def test_paths_of_a_finished_render(files: RenderFiles) -> None:
    finish(files, "a")
    with files.paths("a") as paths:
        assert paths.complete
        assert (paths.image.read_bytes(), paths.audio.read_bytes()) == (IMAGE, AUDIO)
        assert paths.video.read_bytes() == b"a video"
    files.drop_video("a")
    with files.paths("a") as paths:
        assert not paths.complete


def test_what_is_kept_with_a_video(files: RenderFiles) -> None:
    finish(files, "a")
    assert files.load("a", "poster") is None
    files.keep("a", "poster", b"old")
    files.keep("a", "poster", b"new")
    files.keep("a", "receipt", b"{}")
    assert (files.load("a", "poster"), files.load("a", "receipt")) == (b"new", b"{}")
    files.remove("a")
    assert files.load("a", "poster") is None


def test_what_a_crash_leaves_is_cleaned_up(files: RenderFiles) -> None:
    for render_id in ("finished", "running", "unknown"):
        upload(files, render_id)
    attempt = files.begin("finished")
    attempt.output.write_bytes(b"a video")
    files.commit(attempt)
    files.clean_up({"finished", "running"}, {"running"})
    assert files.has_video("finished")
    assert files.begin("running").image.read_bytes() == IMAGE
    with files.staging() as folder, pytest.raises(FileNotFoundError):
        files.stage_again("unknown", folder)


def test_nothing_is_wrong_with_an_empty_store(files: RenderFiles) -> None:
    assert files.problem() is None
