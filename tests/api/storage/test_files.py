"""What every implementation of `RenderFiles` promises: that of a folder, and one that keeps all in memory."""

import hashlib
from pathlib import Path

import pytest

from api.settings import Settings
from api.storage.files import RenderFiles
from api.storage.local import LocalFiles
from tests.api.made import AUDIO, IMAGE, has_output, inputs_of, staged, state_of, upload, work
from tests.api.storage.memory import MemoryFiles


@pytest.fixture(params=["folder", "memory"])
def files(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> RenderFiles:
    return LocalFiles(settings) if request.param == "folder" else MemoryFiles(tmp_path)


def finish(files: RenderFiles, render_id: str, video: bytes = b"a video") -> str:
    upload(files, render_id)
    attempt = files.begin(render_id)
    work(files, attempt, video=video)
    return files.commit(attempt)


def test_an_upload_becomes_a_renders_input(files: RenderFiles) -> None:
    with staged(files) as uploaded:
        files.accept(uploaded, "a")
        assert not uploaded.image.exists()
    with files.workspace(files.begin("a")) as workspace:
        assert (workspace.image.read_bytes(), workspace.audio.read_bytes()) == (IMAGE, AUDIO)
        assert not workspace.output.exists() and not workspace.state.exists()
    assert not files.has_video("a")


def test_what_was_not_accepted_goes(files: RenderFiles) -> None:
    with files.staging() as staging:
        image, audio = staging.path("image"), staging.path("audio")
        assert image != audio and not image.exists()
        image.write_bytes(IMAGE)
    assert not image.exists()


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
    assert first != second
    work(files, first, state=b"half way")
    with files.workspace(second) as workspace:
        assert workspace.state.read_bytes() == b"half way"
    work(files, second, video=b"second")
    files.commit(second)
    work(files, first, video=b"first, too late")
    files.abandon(first)
    assert not has_output(files, first)
    with files.open_video("a") as video:
        assert video.read() == b"second"
    files.drop_state("a")
    assert state_of(files, "a") is None


def test_abandoning_what_was_committed_or_never_written_changes_nothing(files: RenderFiles) -> None:
    upload(files, "a")
    unwritten, written = files.begin("a"), files.begin("a")
    files.abandon(unwritten)
    work(files, written, video=b"a video")
    files.commit(written)
    files.abandon(written)
    assert files.has_video("a")


def test_a_video_that_nobody_wants_goes_and_the_inputs_stay(files: RenderFiles) -> None:
    finish(files, "a")
    for _ in range(2):
        files.drop_video("a")
        assert not files.has_video("a")
    assert inputs_of(files, "a") == (IMAGE, AUDIO)


def test_a_retry_gets_the_same_files_in_a_place_of_its_own(files: RenderFiles) -> None:
    finish(files, "a")
    with files.staging() as staging:
        again = files.stage_again("a", staging)
        assert (again.image.read_bytes(), again.audio.read_bytes()) == (IMAGE, AUDIO)
        assert again.image_hash == hashlib.sha256(IMAGE).hexdigest()
        assert again.audio_hash == hashlib.sha256(AUDIO).hexdigest()
        files.accept(again, "b")
    files.remove("a")
    assert inputs_of(files, "b") == (IMAGE, AUDIO)


def test_a_retry_of_what_is_gone(files: RenderFiles) -> None:
    with files.staging() as staging, pytest.raises(FileNotFoundError):
        files.stage_again("a", staging)


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
    work(files, attempt, video=b"a video")
    files.commit(attempt)
    files.clean_up({"finished", "running"}, {"running"})
    assert files.has_video("finished")
    assert inputs_of(files, "running") == (IMAGE, AUDIO)
    with files.staging() as staging, pytest.raises(FileNotFoundError):
        files.stage_again("unknown", staging)


def test_nothing_is_wrong_with_an_empty_store(files: RenderFiles) -> None:
    assert files.problem() is None
