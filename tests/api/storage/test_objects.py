"""What lies where in an object store, which attempt wins, and what a store that fails does to it."""

import json
import threading
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from api.storage.files import StorageFailure
from tests.api.made import inputs_of, staged, state_of, upload, video_of, work
from tests.conftest import NO_OBSTORE
from tests.s3 import S3Server
from tests.waiting import wait_for

pytest.importorskip("obstore", reason=NO_OBSTORE)

from api.storage import objects
from api.storage.bucket import CALM, Bucket
from api.storage.objects import ObjectFiles


def has_state(files: ObjectFiles, state: bytes) -> bool:
    return state_of(files, "a") == state


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """One that loses its patience sooner."""
    monkeypatch.setitem(CALM["retry_config"], "retry_timeout", timedelta(seconds=1))
    return Bucket(s3.new_bucket())


@pytest.fixture
def files(bucket: Bucket, tmp_path: Path) -> ObjectFiles:
    return ObjectFiles(bucket, tmp_path)


def names(bucket: Bucket) -> list[str]:
    return sorted(bucket.keys("renders/"))


def test_a_render_is_one_prefix(files: ObjectFiles, bucket: Bucket, tmp_path: Path) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    work(files, attempt, video=b"video", state=b"state")
    sha256 = files.commit(attempt)
    files.abandon(attempt)
    files.keep("a", "poster", b"picture")
    files.keep("a", "receipt", b"{}")
    output = [f"output/{attempt.token}.json", f"output/{attempt.token}.mp4"]
    kept = ["audio", "image", "input.json", "measured.json", *output, "poster.jpg", "state", "video.json"]
    assert names(bucket) == [f"renders/a/{name}" for name in kept]
    assert json.loads(bucket.read("renders/a/video.json")[0]) == {"token": attempt.token, "bytes": 5, "sha256": sha256}
    files.drop_state("a")
    files.drop_video("a")
    assert names(bucket) == [f"renders/a/{name}" for name in kept if not name.startswith(("output", "state", "video"))]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], "no copy is left"


def test_a_commit_that_was_sent_twice(files: ObjectFiles) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    work(files, attempt, video=b"video")
    assert files.commit(attempt) == files.commit(attempt)
    with staged(files) as uploaded:
        files.send(uploaded, "b")
        files.accept(uploaded, "b")
    with staged(files) as uploaded:
        files.accept(uploaded, "b")  # the answer was lost


def test_another_upload_never_takes_the_place_of_one(files: ObjectFiles) -> None:
    upload(files, "a")
    with staged(files, b"another portrait") as second, pytest.raises(FileExistsError):
        files.accept(second, "a")


def test_the_latest_attempt_wins_whoever_is_late(files: ObjectFiles, bucket: Bucket, tmp_path: Path) -> None:
    """A server that was frozen wakes up with an attempt of old, after another one took over."""
    other = ObjectFiles(bucket, tmp_path / "other")
    upload(files, "a")
    early, late = files.begin("a"), other.begin("a")
    assert early.token < late.token
    work(files, early, video=b"early")
    work(other, late, video=b"late")
    other.commit(late)
    with pytest.raises(FileExistsError):
        files.commit(early)
    files.abandon(early)
    assert video_of(files, "a") == b"late"
    assert not [name for name in names(bucket) if early.token in name]


def test_a_later_attempt_replaces_an_earlier_one(files: ObjectFiles, bucket: Bucket) -> None:
    """As when a server dies after the commit and before it could say so."""
    upload(files, "a")
    first, second = files.begin("a"), files.begin("a")
    for attempt, video in ((first, b"first"), (second, b"second")):
        work(files, attempt, video=video)
        files.commit(attempt)
    assert video_of(files, "a") == b"second"
    assert not [name for name in names(bucket) if first.token in name]


def test_a_late_commit_of_a_removed_render_fails(files: ObjectFiles, bucket: Bucket) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    files.remove("a")
    work(files, attempt, video=b"too late")
    with pytest.raises(FileNotFoundError):
        files.commit(attempt)
    with pytest.raises(FileNotFoundError):
        files.keep("a", "poster", b"too late")
    files.abandon(attempt)
    files.drop_state("a")
    files.drop_video("a")
    assert names(bucket) == []


def test_a_state_is_in_the_store_before_the_attempt_ends(files: ObjectFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be gone the next moment."""
    monkeypatch.setattr(objects, "STATE_EVERY_S", 0.05)
    upload(files, "a")
    with files.workspace(files.begin("a")) as workspace:
        for state in (b"a quarter", b"half way"):
            workspace.state.write_bytes(state)
            wait_for(partial(has_state, files, state))


def test_a_peers_upload_is_left_alone(bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files, peer = ObjectFiles(bucket, tmp_path / "1"), ObjectFiles(bucket, tmp_path / "2")
    upload(files, "known")
    with peer.staging() as staging:
        for field in ("image", "audio"):
            staging.path(field).write_bytes(b"x")
        uploaded = staging.upload("1", "2")
        peer.send(uploaded, "in flight")
        files.clean_up({"known"}, set())
        peer.accept(uploaded, "in flight")
    assert inputs_of(files, "in flight") == (b"x", b"x")
    old = ObjectFiles(bucket, tmp_path / "3", spared=timedelta(seconds=-5))
    old.clean_up({"known"}, set())
    assert "removing in flight: no task refers to it" in caplog.text
    assert set(bucket.folders("renders/")) == {"known"}


def test_an_empty_database_that_was_named_is_no_reason_to_remove_videos(bucket: Bucket, tmp_path: Path) -> None:
    files = ObjectFiles(bucket, tmp_path, keep_unknown=True, spared=timedelta(seconds=-5))
    upload(files, "a")
    files.clean_up(set(), set())
    assert bucket.folders("renders/") == ["a"]


def test_copies_of_an_earlier_run_go_and_those_of_this_one_stay(bucket: Bucket, tmp_path: Path) -> None:
    for folder in ("incoming/1", "scratch/2", "left-3/4"):
        (tmp_path / folder).mkdir(parents=True)
    files = ObjectFiles(bucket, tmp_path)
    with staged(files) as uploaded:
        files.clean_up(set(), set())
        assert [path.name for path in tmp_path.iterdir()] == ["incoming"]
        files.accept(uploaded, "a")


@pytest.fixture
def away(s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A store that can be taken away; then nothing is waited for."""
    monkeypatch.setattr(objects, "FETCH_S", 0)
    monkeypatch.setattr(objects, "SEND_S", 0)
    return s3


def test_a_store_that_is_away_loses_nothing(files: ObjectFiles, bucket: Bucket, away: S3Server) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    away.relay.close()
    try:
        with pytest.raises(StorageFailure):
            work(files, attempt)
        with pytest.raises(StorageFailure):
            files.commit(attempt)
        with pytest.raises(StorageFailure):
            files.open_video("a")
        assert files.problem() is not None
        began = time.monotonic()
        assert files.remove(*(f"{number}" for number in range(500))) == []
        assert time.monotonic() - began < 10
        for tidy_up in (files.drop_state, files.drop_video):
            tidy_up("a")
        files.abandon(attempt)
    finally:
        away.relay.reopen()
    wait_for(lambda: files.problem() is None)
    work(files, attempt, video=b"a video")
    files.commit(attempt)
    assert video_of(files, "a") == b"a video"


def test_a_video_waits_for_a_store_that_comes_back(files: ObjectFiles, s3: S3Server) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    with files.workspace(attempt) as workspace:
        workspace.output.write_bytes(b"a video")
        s3.relay.close()
        threading.Timer(3, s3.relay.reopen).start()  # longer than one request tries
    files.commit(attempt)
    assert video_of(files, "a") == b"a video"


def test_a_server_that_stops_waits_for_nothing(files: ObjectFiles, s3: S3Server) -> None:
    upload(files, "a")
    attempt = files.begin("a")
    with pytest.raises(StorageFailure), files.workspace(attempt) as workspace:
        workspace.output.write_bytes(b"a video")
        s3.relay.close()
        threading.Timer(1, files.stop_waiting).start()
        began = time.monotonic()
    s3.relay.reopen()
    assert time.monotonic() - began < objects.FETCH_S


def test_what_begins_later_is_waited_for_again(files: ObjectFiles, s3: S3Server) -> None:
    """As when a server no longer leads, and then leads again."""
    upload(files, "a")
    files.stop_waiting()
    attempt = files.begin("a")
    s3.relay.close()
    threading.Timer(2, s3.relay.reopen).start()
    with files.workspace(attempt) as workspace:
        assert workspace.image.exists()


def test_tokens_grow_though_the_clock_goes_back(files: ObjectFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5_000, 4_000, 6_000])
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    tokens = [files.begin("a").token for _ in range(3)]
    assert tokens == sorted(tokens)
