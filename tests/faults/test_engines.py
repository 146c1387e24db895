"""Engine processes that crash, hang or are killed: their task is tried again, the other slot's goes on."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from api.clock import Clock
from api.metrics import Metrics
from api.rendering.dispatcher import Dispatcher
from api.rendering.local import EnginePool, LocalSlots
from api.rendering.slots import Loss
from api.settings import Settings
from api.storage.local import LocalFiles
from api.tasks.model import Render, Task, TaskStatus
from api.tasks.store import TaskStore, sqlite_url
from dice_talk.options import RenderOptions
from tests.conftest import ROOT
from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

STALL_S = 20.0
BACK_S = 60.0
"""Until a slot works again, on a machine that is busy."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(tmp_path_factory.mktemp("engines"), stall_seconds=STALL_S) as service:
        yield service
        assert service.terminate() == 0
        assert not service.engines()


FAULTS: dict[str, tuple[Callable[[int], None], str]] = {
    "kill -9": (lambda pid: os.kill(pid, signal.SIGKILL), "was killed by SIGKILL"),
    "segfault": (lambda pid: os.kill(pid, signal.SIGSEGV), "was killed by SIGSEGV"),
    "hang": (lambda pid: os.kill(pid, signal.SIGSTOP), f"said nothing for {STALL_S:g} seconds"),
}


def _renders(engine: int) -> bool:
    """Whether it is writing a video: an engine that has just ended its task would be harmed for nothing."""
    with suppress(psutil.Error):
        return any(file.path.endswith(".part") for file in psutil.Process(engine).open_files())
    return False


@pytest.mark.parametrize("fault", FAULTS)
def test_one_task_is_tried_again_and_the_other_is_untouched(
    service: ServerProcess, portrait: Path, speech: Path, fault: str
) -> None:
    tasks = [service.submit(portrait, speech, duration=4, min_resolution=384) for _ in range(2)]
    victim = wait_for(lambda: next((pid for pid in service.engines() if _renders(pid)), None))
    harm, reason = FAULTS[fault]
    harm(victim)
    retried = wait_for(lambda: [s for s in map(service.status, tasks) if reason in s["message"] or s["attempts"] == 2])
    begun = time.monotonic()
    wait_for(lambda: service.status(retried[0]["task_id"])["stage"] not in ("queued", "load"), BACK_S)
    assert time.monotonic() - begun < BACK_S
    assert sorted(service.wait(task)["attempts"] for task in tasks) == [1, 2]
    assert {service.status(task)["status"] for task in tasks} == {"COMPLETED"}
    engines = wait_for(lambda: pids if len(pids := service.engines()) == 2 else None)
    assert victim not in engines
    children = psutil.Process(service.process.pid).children(recursive=True)
    assert not [child for child in children if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("kind", "reason", "loss"),
    [
        ("exits", "the engine process exited with code 1", Loss.CRASH),
        ("memory", "the engine raised MemoryError", Loss.MEMORY),
        ("killed", "the engine process was killed by SIGKILL", Loss.MEMORY),
        ("raises", "the engine raised ZeroDivisionError", Loss.CRASH),
        ("segfaults", "the engine process was killed by SIGSEGV", Loss.CRASH),
        ("hangs", "the engine said nothing for 1 seconds", Loss.SILENCE),
    ],
)
def test_a_task_that_fails_three_times_says_why(
    serve: Any, portrait: Path, speech: Path, kind: str, reason: str, loss: Loss
) -> None:
    service = serve(kind, stall_seconds=1)
    state = service.wait(service.submit(portrait, speech))
    assert (state["status"], state["attempts"]) == ("FAILED", 3)
    assert state["message"].endswith(f"Last: {reason}")
    said = f"{state['message']} {state['detail']}"
    assert "log says more" in said
    assert ("smaller min_resolution" in said) == (loss is Loss.MEMORY)
    assert ("could not render this picture" in said) == (loss is Loss.CRASH)
    assert ("took too long" in said) == (loss is Loss.SILENCE)
    assert requests.get(f"{service.url}/api/health", timeout=60).json()["slots_busy"] == 0
    assert service.files() == [f"tasks/{state['task_id']}{file}" for file in ("", "/audio", "/image")]


def test_a_task_whose_engine_dies_once_completes(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("flaky")
    state = service.wait(service.submit(portrait, speech))
    assert (state["status"], state["attempts"]) == ("COMPLETED", 2)
    assert not any(name.endswith(".part") for name in service.files())


def test_what_brings_a_shared_engine_down_takes_no_other_task_with_it(
    tmp_path: Path, portrait: Path, speech: Path
) -> None:
    """By the dispatcher itself: the service would ask for the diffusion engine's weights first."""
    store = TaskStore(sqlite_url(tmp_path / "test.db"))
    files = LocalFiles(Settings(data_dir=tmp_path))
    ids = {}
    for number, emotion in enumerate(("angry", "happy", "sad")):
        options = RenderOptions(emotion=emotion, seed=1, duration=0.5)
        now = datetime(2030, 1, 1)
        render = Render(f"{number}", options, "diffusion", None, 1.0, created_at=now, updated_at=now)
        (tmp_path / "tasks" / render.id).mkdir()
        for name, file in (("image", portrait), ("audio", speech)):
            (tmp_path / "tasks" / render.id / name).hardlink_to(file)
        ids[emotion] = store.add(Task(render.id, now, render)).id

    async def scenario() -> None:
        command = [sys.executable, "-m", "tests.fake_worker", "angry"]
        pool = EnginePool(lambda engine: command, load_seconds=30, stall_seconds=30)
        slots, metrics = LocalSlots(2, pool), Metrics(pool.pids)
        dispatcher = Dispatcher(store, files, slots, attempts=3, clock=Clock(), metrics=metrics)
        await dispatcher.start("diffusion")
        while store.unfinished():
            await asyncio.sleep(0.05)
        await dispatcher.stop(1)

    asyncio.run(scenario())
    ends = {emotion: found for emotion, render in ids.items() if (found := store.render(render))}
    store.close()
    assert (ends["angry"].status, ends["angry"].attempts) == (TaskStatus.FAILED, 3)
    assert (ends["happy"].status, ends["happy"].attempts) == (TaskStatus.COMPLETED, 2)
    assert (ends["sad"].status, ends["sad"].attempts) == (TaskStatus.COMPLETED, 1)


def test_an_idle_engine_that_dies_is_replaced(service: ServerProcess) -> None:
    before = wait_for(lambda: pids if len(pids := service.engines()) == 2 else None)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(pids := service.engines()) == 2 and not set(pids) & set(before))


def test_a_model_file_that_is_missing_is_named(tmp_path: Path, portrait: Path, speech: Path) -> None:
    packages = copy_of_the_packages(tmp_path)
    model = packages / "dice_talk" / "face_models" / "mesh_trunk.tflite"
    variables = {"PYTHONPATH": str(packages), "PYTHONSAFEPATH": "1"}
    with server_process(tmp_path, variables=variables) as service:
        waiting = service.submit(portrait, speech, duration=None)
        model.unlink()
        for pid in service.engines():
            os.kill(pid, signal.SIGKILL)
        state = service.wait(waiting)
        assert state["status"] == "FAILED"
        assert model.name in state["detail"]
        health = service.health()
        assert (health["status"], model.name in health["detail"]) == ("unhealthy", True)
        refused = service.start(portrait, speech)
        assert (refused.status_code, model.name in refused.json()["detail"]) == (400, True)
    with server_process(tmp_path, variables=variables) as service:
        assert service.process.wait(100) == 1
        assert model.name in (tmp_path / "output").read_text().splitlines()[-1]


def copy_of_the_packages(folder: Path) -> Path:
    """A folder for PYTHONPATH whose model files may be harmed."""
    for package in ("api", "dice_talk"):
        shutil.copytree(ROOT / package, folder / "packages" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "packages"
