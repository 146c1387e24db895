"""The diffusion engine's long renders go on where a crash or a restart cut them off, and give the same video."""

import io
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.conftest import NO_OBSTORE
from tests.faults.process import ServerProcess, server_process
from tests.s3 import S3Server
from tests.waiting import wait_for

pytest.importorskip("obstore", reason=NO_OBSTORE)

from api.storage.bucket import Bucket

SMALL = {"inference_steps": 8, "min_resolution": 128, "quality": "fast"}
FIELDS: dict[str, Any] = {"engine": "diffusion", "seed": 7, "duration": 0.3, **SMALL}


@contextmanager
def serving(folder: Path, checkpoints: Path, **changes: Any) -> Iterator[ServerProcess]:
    with server_process(
        folder,
        worker=["tests.diffusion.saving_worker", "diffusion", str(checkpoints)],
        variables={"OMP_NUM_THREADS": "1"},
        checkpoints_dir=checkpoints,
        shutdown_seconds=0.0,
        log_level="DEBUG",
        **changes,
    ) as service:
        yield service


def frames(service: ServerProcess, task: str) -> Any:
    assert service.wait(task, seconds=300)["status"] == "COMPLETED"
    with av.open(io.BytesIO(service.download(task).content), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def unbroken(tiny_checkpoints: Path, tmp_path_factory: pytest.TempPathFactory, portrait: Path, speech: Path) -> Any:
    with serving(tmp_path_factory.mktemp("unbroken"), tiny_checkpoints) as service:
        return frames(service, service.submit(portrait, speech, **FIELDS))


CUTS: dict[str, tuple[Callable[[ServerProcess], object], int]] = {
    "kill -9 of the engine": (lambda service: os.kill(service.engines()[0], signal.SIGKILL), 2),
    "kill -9 of the service": (ServerProcess.kill, 2),
    "SIGTERM": (ServerProcess.terminate, 1),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cut", CUTS)
def test_the_video_is_that_of_an_unbroken_run(
    tmp_path: Path, tiny_checkpoints: Path, unbroken: Any, portrait: Path, speech: Path, cut: str
) -> None:
    harm, attempts = CUTS[cut]
    with serving(tmp_path, tiny_checkpoints) as service:
        task = service.submit(portrait, speech, **FIELDS)
        wait_for(lambda: (service.settings.data_dir / "tasks" / task / "state").exists(), 300)
        harm(service)
        with ExitStack() as stack:
            if service.process.poll() is not None:
                service = stack.enter_context(serving(tmp_path, tiny_checkpoints))
            assert np.array_equal(frames(service, task), unbroken)
            assert service.status(task)["attempts"] == attempts
            service.check_files()
    (went_on,) = re.findall(r"resumes after step (\d+)", (tmp_path / "output").read_text())
    assert 0 < int(went_on) < FIELDS["inference_steps"]


@pytest.mark.timeout(600)
def test_another_machine_goes_on_from_what_is_in_the_object_store(
    tmp_path: Path, tiny_checkpoints: Path, unbroken: Any, portrait: Path, speech: Path, s3: S3Server
) -> None:
    """Only the database goes along: nothing else that the first one had on its disk."""
    url = s3.new_bucket()
    with serving(tmp_path, tiny_checkpoints, storage_url=url) as service:
        task = service.submit(portrait, speech, **FIELDS)
        wait_for(lambda: list((service.settings.data_dir / "scratch").glob("*/state")), 300)
        assert service.terminate() == 0
        assert f"renders/{task}/state" in Bucket(url).keys("renders/")
    shutil.rmtree(tmp_path / "data" / "scratch", ignore_errors=True)
    with serving(tmp_path, tiny_checkpoints, storage_url=url) as service:
        assert np.array_equal(frames(service, task), unbroken)
        assert service.status(task)["attempts"] == 1
    (went_on,) = re.findall(r"resumes after step (\d+)", (tmp_path / "output").read_text())
    assert 0 < int(went_on) < FIELDS["inference_steps"]
    assert f"renders/{task}/state" not in Bucket(url).keys("renders/")
