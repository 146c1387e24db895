"""The whole service over HTTP with its files on an S3 server."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import NO_OBSTORE, Service
from tests.faults.process import server_process
from tests.s3 import S3Server
from tests.waiting import wait_for

pytest.importorskip("obstore", reason=NO_OBSTORE)

from api.storage.bucket import Bucket

INPUTS = {"audio", "image", "input.json"}


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return Bucket(s3.new_bucket())


@pytest.fixture
def stored(serve: Callable[..., Service], bucket: Bucket) -> Callable[..., Service]:
    """Start servers whose files are in the bucket."""
    return lambda kind="quick", **changes: serve(kind, storage_url=bucket.url, **changes)


def renders(bucket: Bucket) -> set[str]:
    return {key.split("/")[1] for key in bucket.keys("renders/")}


def names(bucket: Bucket, render: str) -> set[str]:
    """What is stored of a render; an output has the name of its attempt."""
    prefix = f"renders/{render}/"
    return {"output" if "/output/" in key else key.removeprefix(prefix) for key in bucket.keys(prefix)}


def copies(service: Service) -> list[str]:
    """Files that the server has of its own, beside the database."""
    data = service.settings.data_dir
    return [str(path) for top in ("incoming", "scratch", "tasks") for path in (data / top).rglob("*") if path.is_file()]


def address(service: Service, task: str, call: str) -> str:
    return f"{service.url}/api/v1/synthesis/{task}/{call}"


def finished(service: Service, portrait: Path, speech: Path, **fields: Any) -> str:
    task = service.submit(portrait, speech, **fields)
    assert service.wait(task)["status"] == "COMPLETED"
    return task


def test_a_task_from_its_upload_to_its_removal(
    stored: Callable[..., Service], bucket: Bucket, portrait: Path, speech: Path
) -> None:
    service = stored()
    task = finished(service, portrait, speech, seed=5)
    assert names(bucket, task) == INPUTS | {"output", "video.json"}
    whole = service.download(task)
    assert whole.status_code == 200 and whole.content[4:8] == b"ftyp"
    assert int(whole.headers["content-length"]) == len(whole.content)
    part = service.download(task, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    last = service.download(task, Range="bytes=-5")
    assert (last.status_code, last.content) == (206, whole.content[-5:])
    both = service.download(task, Range="bytes=0-3,8-9")
    assert both.status_code == 206 and whole.content[8:10] in both.content
    assert service.download(task, Range=f"bytes={len(whole.content)}-").status_code == 416
    assert service.download(task, **{"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert service.download(task, **{"If-Match": '"another"'}).status_code == 412
    head = requests.head(address(service, task, "download"), timeout=60)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))

    again = service.submit(portrait, speech, seed=5)
    assert service.status(again)["status"] == "COMPLETED", "it shares the video"
    assert renders(bucket) == {task}
    retried = requests.post(address(service, task, "retry"), json={"seed": 6}, timeout=60).json()["task_id"]
    assert service.wait(retried)["status"] == "COMPLETED"
    assert renders(bucket) == {task, retried}

    poster = requests.get(address(service, task, "poster"), timeout=60)
    assert poster.content[:2] == b"\xff\xd8" and poster.content == requests.get(poster.url, timeout=60).content
    wait_for(lambda: copies(service) == [])
    receipt = requests.get(address(service, task, "receipt"), timeout=60).json()
    assert receipt["result"]["sha256"] and receipt["inputs"]["image"]
    assert "poster.jpg" in names(bucket, task)

    assert requests.delete(address(service, task, "")[:-1], timeout=60).status_code == 204
    assert service.download(again).content == whole.content, "another task shares it"
    for one in (again, retried):
        assert requests.delete(address(service, one, "")[:-1], timeout=60).status_code == 204
    assert service.download(again).status_code == 404
    wait_for(lambda: renders(bucket) == set())


def test_what_is_refused_or_cancelled_leaves_nothing(
    stored: Callable[..., Service], bucket: Bucket, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = stored("gated")
    assert service.start(b"no picture", speech).status_code == 400
    preflight = requests.post(f"{service.url}/api/v1/preflight", files={"image": portrait.read_bytes()}, timeout=60)
    assert preflight.status_code == 200
    assert renders(bucket) == set()
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    assert requests.post(address(service, task, "cancel"), timeout=60).status_code == 200
    wait_for(lambda: service.health()["slots_busy"] == 0)
    assert names(bucket, task) == INPUTS, "they are kept for a retry"
    wait_for(lambda: copies(service) == [])


def test_expired_tasks_go(stored: Callable[..., Service], bucket: Bucket, portrait: Path, speech: Path) -> None:
    late = timedelta()
    service = stored(clock=lambda: datetime.now(UTC).replace(tzinfo=None) + late, sweep_seconds=0.2)
    tasks = [finished(service, portrait, speech) for _ in range(2)]
    assert renders(bucket) == set(tasks)
    late = timedelta(hours=25)
    wait_for(lambda: renders(bucket) == set())
    assert service.download(tasks[0]).status_code == 404


def test_downloads_are_sent_on_to_the_store(
    stored: Callable[..., Service], portrait: Path, speech: Path, s3: S3Server
) -> None:
    service = stored(download_redirect=True)
    task = finished(service, portrait, speech)
    url = address(service, task, "download")
    sent_on = requests.get(url, timeout=60, allow_redirects=False)
    assert sent_on.status_code == 307 and sent_on.headers["cache-control"] == "no-store"
    assert sent_on.headers["location"].startswith(s3.variables["AWS_ENDPOINT_URL"])
    assert "Expires=300" in sent_on.headers["location"]
    assert s3.variables["AWS_SECRET_ACCESS_KEY"] not in sent_on.headers["location"]
    followed = requests.get(url, timeout=60, headers={"Range": "bytes=4-7"})
    assert (followed.status_code, followed.content) == (206, b"ftyp")
    assert followed.headers["content-type"] == "video/mp4"
    assert followed.headers["content-disposition"] == 'attachment; filename="result.mp4"'
    assert requests.head(url, timeout=60, allow_redirects=False).status_code == 200
    script = requests.get(url, timeout=60, headers={"Sec-Fetch-Mode": "cors"}, allow_redirects=False)
    assert script.status_code == 200 and script.content[4:8] == b"ftyp"
    tag = script.headers["etag"]
    assert requests.get(url, timeout=60, headers={"If-None-Match": tag}, allow_redirects=False).status_code == 304
    assert requests.get(address(service, "unknown", "download"), timeout=60).status_code == 404


def test_a_server_that_is_killed_in_the_middle(
    tmp_path: Path, bucket: Bucket, portrait: Path, speech: Path, s3: S3Server
) -> None:
    with server_process(tmp_path, "gated", storage_url=bucket.url) as service:
        task = service.submit(portrait, speech)
        service.wait(task, "PROCESSING")
        wait_for(lambda: copies(service))
        service.kill()
    (tmp_path / "gate").touch()
    with server_process(tmp_path, "gated", storage_url=bucket.url) as service:
        state = service.wait(task)
        assert (state["status"], state["attempts"]) == ("COMPLETED", 2)
        assert service.download(task).content[4:8] == b"ftyp"
        assert names(bucket, task) == INPUTS | {"output", "video.json"}
        wait_for(lambda: copies(service) == [])
        output = (tmp_path / "output").read_text() + (service.settings.log_dir / "api.log").read_text()
        assert s3.variables["AWS_SECRET_ACCESS_KEY"] not in output
