"""The object store goes away and comes back. `AWAY_SECONDS=30` makes it stay away longer."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import NO_OBSTORE, Service
from tests.s3 import S3Server
from tests.waiting import wait_for

pytest.importorskip("obstore", reason=NO_OBSTORE)

from api.storage.bucket import HASTY, Bucket

AWAY_S = float(os.environ.get("AWAY_SECONDS", "1"))
SILENT = "The storage does not answer"
WAYS: dict[str, tuple[Callable[[S3Server], None], Callable[[S3Server], None]]] = {
    "refuses connections": (lambda s3: s3.relay.close(), lambda s3: s3.relay.reopen()),
    "hangs": (S3Server.freeze, S3Server.thaw),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setitem(HASTY["client_options"], "timeout", "1s")
    yield WAYS[request.param]
    s3.thaw()
    s3.relay.close()
    s3.relay.reopen()


@pytest.mark.timeout(300)
def test_nothing_is_lost_while_the_store_is_away(
    serve: Callable[..., Service], s3: S3Server, way: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    go, come_back = way
    bucket = Bucket(s3.new_bucket())
    service = serve("gated", storage_url=bucket.url, workers=2)
    (tmp_path / "gate").touch()
    done = service.submit(portrait, speech)
    service.wait(done)
    video = service.download(done).content
    (tmp_path / "gate").unlink()
    running = service.submit(portrait, speech)
    service.wait(running, "PROCESSING")
    wait_for(lambda: service.status(running)["stage"] == "render")

    go(s3)
    began = time.monotonic()
    wait_for(lambda: service.health()["detail"] == SILENT, 60)
    assert service.status(running)["status"] == "PROCESSING"
    assert requests.get(f"{service.url}/api/ready", timeout=60).status_code == 503
    assert requests.get(f"{service.url}/api/live", timeout=60).status_code == 200
    refused = service.start(portrait, speech)
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
    assert refused.headers["retry-after"]
    download = service.download(done)
    assert (download.status_code, download.json()["code"]) == (503, "storage_unavailable")
    (tmp_path / "gate").touch()  # the video is finished while nobody can take it
    time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
    assert service.status(running)["status"] == "PROCESSING"

    come_back(s3)
    state = service.wait(running)
    assert (state["status"], state["attempts"]) == ("COMPLETED", 1)
    wait_for(lambda: service.health()["status"] == "healthy")
    assert service.download(running).content[4:8] == b"ftyp"
    assert service.download(done).content == video
    assert service.wait(service.submit(portrait, speech))["status"] == "COMPLETED"


def test_a_task_waits_for_inputs_that_cannot_be_fetched(
    serve: Callable[..., Service], s3: S3Server, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is put back, as an attempt that does not count, however often."""
    monkeypatch.setattr("api.storage.objects.FETCH_S", 0.0)
    monkeypatch.setattr("api.rendering.dispatcher.WARM_CHECK_S", 0.1)
    service = serve("quick", storage_url=s3.new_bucket(), attempts=2)
    service.wait(service.submit(portrait, speech))
    task = None
    try:
        app = service.app
        assert app
        files = app.state.services.files
        fetch = files._fetch
        tried = []

        def fetch_from_a_store_that_is_away(wanted: dict[str, Path]) -> None:
            tried.append(1)
            if len(tried) <= 3:
                s3.relay.close()
            try:
                fetch(wanted)
            finally:
                if len(tried) <= 3:
                    s3.relay.reopen()

        monkeypatch.setattr(files, "_fetch", fetch_from_a_store_that_is_away)
        task = service.submit(portrait, speech)
        state = service.wait(task)
    finally:
        monkeypatch.undo()
    assert (state["status"], state["attempts"], len(tried)) == ("COMPLETED", 1, 4)
