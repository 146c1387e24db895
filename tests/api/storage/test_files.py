"""What every implementation of `RenderFiles` promises: a folder, an object store, and one that keeps all in memory."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from api.http.downloads import OpenedFile
from api.settings import Settings
from api.storage.files import RenderFiles
from api.storage.local import LocalFiles
from tests.api.made import AUDIO, IMAGE, has_output, inputs_of, read_all, staged, state_of, upload, video_of, work
from tests.api.storage.memory import MemoryFiles
from tests.conftest import NO_OBSTORE


@pytest.fixture(params=["folder", "memory", "objects in a folder", "objects on S3"])
def files(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> RenderFiles:
    if request.param == "folder":
        return LocalFiles(settings)
    if request.param == "memory":
        return MemoryFiles(tmp_path)
    pytest.importorskip("obstore", reason=NO_OBSTORE)
    from api.storage.bucket import Bucket
    from api.storage.objects import ObjectFiles

    on_s3 = request.param == "objects on S3"
    url = request.getfixturevalue("s3").new_bucket() if on_s3 else f"file://{tmp_path}/bucket/videos"
    return ObjectFiles(Bucket(url), settings.data_dir, spared=timedelta(seconds=-5))


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
    data = b"0123456789" * 100_000
    assert finish(files, "a", data) == hashlib.sha256(data).hexdigest()
    assert files.has_video("a")

    async def download() -> bytes:
        video = files.open_video("a")
        assert video.size == len(data)
        first = await video.read(OpenedFile.chunk_size)
        assert files.remove("a") == ["a"]
        return first + await read_all(video)

    assert asyncio.run(download()) == data
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
    assert video_of(files, "a") == b"second"
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


def test_parts_of_a_video(files: RenderFiles) -> None:
    data = bytes(range(256)) * 4000
    finish(files, "a", data)

    async def read(*parts: tuple[int, int]) -> list[bytes]:
        video = files.open_video("a")
        found = []
        for start, size in parts:
            await video.seek(start)
            found.append(await video.read(size))
        video.close()
        return found

    assert asyncio.run(read((1000, 2), (5, 300_000), (len(data) - 3, 300_000), (0, 1))) == [
        data[1000:1002],
        data[5:300_005],
        data[-3:],
        data[:1],
    ]


def test_an_upload_that_was_sent_and_not_accepted_can_be_taken_back(files: RenderFiles) -> None:
    with staged(files) as uploaded:
        files.send(uploaded, "a")
        assert files.remove("a") == ["a"]
        files.send(uploaded, "b")
        files.accept(uploaded, "b")
    assert inputs_of(files, "b") == (IMAGE, AUDIO)
    with files.staging() as staging, pytest.raises(FileNotFoundError):
        files.stage_again("a", staging)


def test_many_renders_are_removed_together(files: RenderFiles) -> None:
    names = [f"render {number}" for number in range(30)]
    for name in names[:3]:
        finish(files, name)
    assert files.remove(*names) == names
    assert not any(files.has_video(name) for name in names)
    assert files.remove() == []


def test_an_attempt_that_failed_leaves_its_state_and_no_output(files: RenderFiles) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    with pytest.raises(ZeroDivisionError), files.workspace(attempt) as workspace:
        workspace.output.write_bytes(b"half a video")
        workspace.state.write_bytes(b"half way")
        raise ZeroDivisionError
    files.abandon(attempt)
    assert not has_output(files, attempt)
    assert state_of(files, "a") == b"half way"
