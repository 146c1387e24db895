"""What a task costs beside its rendering, files in a folder or on an S3 server: python -m benchmarks.object_store.

Both are asked in turn, so that whatever else the machine does affects both. Prints milliseconds, requests and bytes of
each step, with a portrait of 1 MB, a recording of 5 MB and a video of 3 MB. The S3 server is moto's, on this machine: a
network adds its round trip to each request.
"""

import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from api.settings import Settings
from api.storage.files import OpenVideo, RenderFiles
from api.storage.opening import open_files
from tests.s3 import S3Server, s3_server

ROUNDS = 30
IMAGE, AUDIO, VIDEO = os.urandom(1 << 20), os.urandom(5 << 20), os.urandom(3 << 20)
CHUNK = 256 * 1024


class Meter:
    """Times steps, and counts what goes to the S3 server meanwhile."""

    def __init__(self, server: S3Server) -> None:
        self._relay = server.relay
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.traffic: dict[str, list[tuple[int, int]]] = defaultdict(list)

    @contextmanager
    def step(self, kind: str, name: str) -> Iterator[None]:
        before, began = self._counts(), time.perf_counter()
        yield
        self.seconds[kind, name].append(time.perf_counter() - began)
        if kind == "S3":
            time.sleep(0.002)
            requests, moved = (now - then for now, then in zip(self._counts(), before, strict=True))
            self.traffic[name].append((requests, moved))

    def _counts(self) -> tuple[int, int]:
        return self._relay.requests, self._relay.bytes_in + self._relay.bytes_out


def main() -> None:
    with s3_server() as server, tempfile.TemporaryDirectory() as folder:
        os.environ |= server.variables
        kinds = {"folder": None, "S3": server.new_bucket()}
        storages = {kind: storage(Path(folder) / kind, url) for kind, url in kinds.items()}
        meter = Meter(server)
        for number in range(ROUNDS + 1):
            for kind, files in storages.items():
                task(files, f"{number}", partial(meter.step, kind))
            if number == 0:  # opens connections
                meter.seconds.clear()
                meter.traffic.clear()
        show(meter)


def storage(folder: Path, url: str | None) -> RenderFiles:
    folder.mkdir()
    return open_files(Settings(data_dir=folder, min_free_mb=0, storage_url=url))


def task(files: RenderFiles, render: str, step: Callable[[str], AbstractContextManager[None]]) -> None:
    with files.staging() as staging:
        staging.path("image").write_bytes(IMAGE)
        staging.path("audio").write_bytes(AUDIO)
        upload = staging.upload(*(hashlib.sha256(data).hexdigest() for data in (IMAGE, AUDIO)))
        with step("send"):
            files.send(upload, render)
        with step("accept"):
            files.accept(upload, render)
    attempt = files.begin(render)
    workspace = files.workspace(attempt)
    with step("inputs for the engine"):
        work = workspace.__enter__()
    work.output.write_bytes(VIDEO)
    with step("output"):
        workspace.__exit__(None, None, None)
    with step("commit"):
        files.commit(attempt)
        files.abandon(attempt)
        files.drop_state(render)
    with step("download"):
        asyncio.run(read(files.open_video(render)))
    with step("remove"):
        files.remove(render)


async def read(video: OpenVideo) -> None:
    while await video.read(CHUNK):
        pass
    video.close()


def show(meter: Meter) -> None:
    print(f"{'ms, least and median':25}{'folder':>14}{'S3':>14}{'requests':>10}{'KB':>8}")
    for name in meter.traffic:
        times = (meter.seconds[kind, name] for kind in ("folder", "S3"))
        folder, s3 = (f"{1000 * min(found):.1f}, {1000 * statistics.median(found):.1f}" for found in times)
        requests, moved = (statistics.median(one[part] for one in meter.traffic[name]) for part in (0, 1))
        print(f"{name:25}{folder:>14}{s3:>14}{requests:10.0f}{moved / 1024:8.0f}")


if __name__ == "__main__":
    main()
