"""Objects on a real S3 server, and in a folder."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from api.settings import StartError
from api.storage.files import Problem, StorageFailure
from dice_talk.error_codes import ErrorCode
from tests.conftest import NO_OBSTORE
from tests.s3 import S3Server
from tests.waiting import wait_for

pytest.importorskip("obstore", reason=NO_OBSTORE)

from api.storage.bucket import CALM, CHUNK, HASTY, Bucket, RemoteVideo, patiently, said_by

SILENT = Problem("The storage does not answer", ErrorCode.STORAGE_UNAVAILABLE)


@pytest.fixture(params=["folder", "S3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    if request.param == "folder":
        return Bucket(f"file://{tmp_path}/bucket/prefix")
    return Bucket(request.getfixturevalue("s3").new_bucket())


@pytest.fixture
def on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """One that loses its patience sooner."""
    monkeypatch.setitem(HASTY["client_options"], "timeout", "500ms")
    monkeypatch.setitem(CALM["retry_config"], "retry_timeout", timedelta(seconds=1))
    yield Bucket(s3.new_bucket())
    s3.thaw()
    s3.relay.close()
    s3.relay.reopen()


def test_an_object(bucket: Bucket, tmp_path: Path) -> None:
    assert not bucket.exists("a/b")
    with pytest.raises(FileNotFoundError):
        bucket.read("a/b")
    bucket.put("a/b", b"1")
    bucket.put("a/b", b"12")
    assert bucket.exists("a/b") and bucket.read("a/b")[0] == b"12"
    bucket.download("a/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"12"
    bucket.delete(["a/b", "a/c"])
    bucket.delete([])
    assert not bucket.exists("a/b")


def test_a_large_file_goes_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    data = bytes(range(256)) * (48 << 10)
    (tmp_path / "large").write_bytes(data)
    bucket.put("large", tmp_path / "large", {"Content-Type": "video/mp4"})
    bucket.download("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_conditions(bucket: Bucket) -> None:
    bucket.create("a", b"1")
    with pytest.raises(FileExistsError):
        bucket.create("a", b"2")
    data, version = bucket.read("a")
    assert data == b"1"
    bucket.replace("a", b"3", version)
    assert bucket.read("a")[0] == b"3"
    if bucket.can_sign:  # a folder has one server, and no conditions on changes
        with pytest.raises(FileExistsError):
            bucket.replace("a", b"4", version)


def test_what_lies_below_a_prefix(bucket: Bucket) -> None:
    for key in ("renders/a/1", "renders/a/b/2", "renders/ab/3", "other/4"):
        bucket.put(key, b"")
    found = bucket.keys("renders/a/")
    assert found.keys() == {"renders/a/1", "renders/a/b/2"}
    assert all(abs(when - datetime.now(UTC)) < timedelta(minutes=1) for when in found.values())
    assert sorted(bucket.folders("renders/")) == ["a", "ab"]
    assert bucket.folders("nothing/") == []


def test_a_store_that_works(bucket: Bucket) -> None:
    bucket.check()
    assert bucket.problem() is None
    assert [key for key in bucket.keys("") if key.startswith("check")] == []


def test_a_bucket_that_is_not_there(s3: S3Server) -> None:
    with pytest.raises(StartError, match="the storage s3://nobodys-bucket/a cannot be used"):
        Bucket("s3://nobodys-bucket/a").check()


def test_a_store_that_is_away_at_the_start_may_come_back(
    on_s3: Bucket, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    s3.relay.close()
    on_s3.check()
    assert "does not answer yet" in caplog.text
    assert on_s3.problem() == SILENT
    s3.relay.reopen()
    wait_for(lambda: on_s3.problem() is None)
    assert "the storage answers again" in caplog.text


def test_no_secret_is_logged(on_s3: Bucket, s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signed = on_s3.sign("a", 60)
    s3.relay.close()
    with pytest.raises(StorageFailure) as failure:
        on_s3.read("a")
    assert said_by(Exception(f"GET {signed} failed")).endswith("/videos/a?... failed")
    for text in (caplog.text, str(failure.value), repr(on_s3.__dict__)):
        assert s3.variables["AWS_SECRET_ACCESS_KEY"] not in text
    assert str(failure.value) == "the server's storage does not answer"


def test_a_store_that_hangs_is_not_waited_for_twice(on_s3: Bucket, s3: S3Server) -> None:
    on_s3._known_until = 0
    s3.freeze()
    began = time.monotonic()
    assert on_s3.problem() == SILENT
    assert time.monotonic() - began < 20
    began = time.monotonic()
    with pytest.raises(StorageFailure):
        on_s3.exists("a")
    assert time.monotonic() - began < 20
    s3.thaw()
    wait_for(lambda: on_s3.problem() is None)
    assert not on_s3.exists("a")


def test_an_address_for_anybody(on_s3: Bucket) -> None:
    on_s3.put("a b", b"0123456789", {"Content-Type": "video/mp4", "Content-Disposition": "attachment"})
    answer = requests.get(on_s3.sign("a b", 60), headers={"Range": "bytes=2-4"}, timeout=20)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (206, b"234", "video/mp4")
    assert answer.headers["content-disposition"] == "attachment"


def test_a_download_goes_on_where_the_store_broke_off(on_s3: Bucket, s3: S3Server) -> None:
    data = bytes(range(256)) * (40 << 10)
    on_s3.put("video", data)

    async def download() -> bytes:
        video = RemoteVideo(on_s3, "video", len(data))
        got = await video.read(CHUNK)
        s3.relay.close()
        threading.Timer(1, s3.relay.reopen).start()
        while chunk := await video.read(CHUNK):
            got += chunk
        return got

    assert asyncio.run(download()) == data


def test_a_download_that_cannot_begin_fails_soon(on_s3: Bucket, s3: S3Server) -> None:
    s3.relay.close()
    with pytest.raises(StorageFailure):
        asyncio.run(RemoteVideo(on_s3, "video", 5).read(5))
    s3.relay.reopen()
    with pytest.raises(FileNotFoundError):
        asyncio.run(RemoteVideo(on_s3, "video", 5).read(5))


def fail_until(number: int) -> tuple[list[int], object]:
    calls: list[int] = []

    def action() -> str:
        calls.append(1)
        if len(calls) < number:
            raise StorageFailure
        return "done"

    return calls, action


def test_patience() -> None:
    calls, action = fail_until(2)
    assert patiently(action, 5, threading.Event()) == "done"  # type: ignore[arg-type]
    assert len(calls) == 2


def test_patience_ends_in_time_and_with_the_server() -> None:
    _, action = fail_until(100)
    with pytest.raises(StorageFailure):
        patiently(action, 0.1, threading.Event())  # type: ignore[arg-type]
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    with pytest.raises(StorageFailure):
        patiently(action, 600, stopping)  # type: ignore[arg-type]


def test_what_the_store_says_is_cut_to_its_code() -> None:
    body = "<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><AWSAccessKeyId>an-id</AWSAccessKeyId></Error>"
    assert said_by(Exception(f"403 Forbidden: {body}")) == "403 Forbidden: AccessDenied"
    assert said_by(Exception("x" * 1000)) == "x" * 300
