"""Rendering on a Ray cluster is what rendering on this machine is."""

import asyncio
import io
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from benchmarks.ray_cluster import Cluster, RayNode
from tests.cluster.conftest import health, wait_for_slots
from tests.conftest import Service
from tests.waiting import wait_for


def test_two_tasks_on_two_nodes_give_the_videos_that_this_machine_gives(
    serve_on_ray: Callable[..., Service], real_service: Service, portrait: Path, speech: Path
) -> None:
    service = serve_on_ray()
    wait_for_slots(service, "one", "two")
    fields: dict[str, Any] = {"duration": 2, "min_resolution": 256}
    tasks = [service.submit(portrait, speech, seed=seed, **fields) for seed in (1, 2)]
    states = [service.wait(task) for task in tasks]
    assert [state["status"] for state in states] == ["COMPLETED"] * 2, states
    receipts = [requests.get(f"{service.url}/api/v1/synthesis/{task}/receipt", timeout=60).json() for task in tasks]
    assert {receipt["node"] for receipt in receipts} == {"one", "two"}
    for seed, task in zip((1, 2), tasks, strict=True):
        here = real_service.submit(portrait, speech, seed=seed, **fields)
        real_service.wait(here)
        assert without_id(service.download(task).content, task) == without_id(real_service.download(here).content, here)


def without_id(video: bytes, task: str) -> bytes:
    """A video names its task."""
    assert task.encode() in video
    return video.replace(task.encode(), b"")


def test_nothing_of_ray_listens_on_other_interfaces(serve_on_ray: Callable[..., Service], ray_cluster: Cluster) -> None:
    service = serve_on_ray()
    wait_for_slots(service, "one", "two")
    found = [
        (process.name(), connection.laddr.ip)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {name for name, _ in found} >= {"gcs_server", "raylet", "ray::SlotActor"}
    assert [one for one in found if one[1].removeprefix("::ffff:") != "127.0.0.1"] == []


def where(service: Service, task: str) -> str:
    """The node that renders a task."""
    return str(next(slot.location for slot in service.synthesis._dispatcher.slots if slot.busy))


def actor_of(node: RayNode) -> psutil.Process:
    return next(process for process in node.processes() if "SlotActor" in process.name())


def rendering(service: Service, portrait: Path, speech: Path, **fields: Any) -> str:
    """A task that an engine has begun."""
    task = service.submit(portrait, speech, **fields)
    wait_for(lambda: service.status(task)["progress"] > 0)
    return task


def test_an_engine_that_is_killed_costs_an_attempt_and_a_frozen_actor_none(
    serve_on_ray: Callable[..., Service], ray_cluster: Cluster, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve_on_ray("gated")
    wait_for_slots(service, "one", "two")
    task = rendering(service, portrait, speech)
    node = ray_cluster.nodes[where(service, task)]
    next(one for one in node.processes() if "tests.fake_worker" in one.cmdline()).kill()
    wait_for(lambda: service.status(task)["attempts"] == 2)
    wait_for(lambda: service.status(task)["status"] == "PROCESSING")
    frozen = actor_of(ray_cluster.nodes[where(service, task)])
    frozen.suspend()
    wait_for(lambda: health(service)["slots"] == 1, 30)
    (tmp_path / "gate").touch()
    state = service.wait(task)
    assert (state["status"], state["attempts"]) == ("COMPLETED", 2)
    wait_for_slots(service, "one", "two")
    if frozen.is_running():  # else Ray has killed it
        frozen.resume()


def test_a_cancelled_render_stops_and_leaves_nothing(
    serve_on_ray: Callable[..., Service], ray_cluster: Cluster, portrait: Path, speech: Path
) -> None:
    service = serve_on_ray("gated")
    wait_for_slots(service, "one", "two")
    task = rendering(service, portrait, speech)
    assert scratch_files(ray_cluster) != []
    requests.post(f"{service.url}/api/v1/synthesis/{task}/cancel", timeout=60).raise_for_status()
    wait_for(lambda: health(service)["slots_busy"] == 0, 20)
    assert scratch_files(ray_cluster) == []


def scratch_files(cluster: Cluster) -> list[str]:
    """What lies in the nodes' folders, besides the locks of the processes that live."""
    found = (cluster.folder / "scratch").glob("dice-talk-node-*/*/*")
    return [str(path) for path in found if path.name != "lock"]


def test_large_inputs_and_a_restart_of_the_server_with_models_loaded(
    serve_on_ray: Callable[..., Service], ray_cluster: Cluster, portrait: Path, tmp_path: Path
) -> None:
    service = serve_on_ray("quick", data_dir=tmp_path / "first")
    wait_for_slots(service, "one", "two")
    actors = {name: actor_of(ray_cluster.nodes[name]).pid for name in ("one", "two")}
    rate, seconds = 48_000, 200
    file = io.BytesIO()
    with wave.open(file, "wb") as speech:
        speech.setparams((2, 2, rate, 0, "NONE", ""))
        speech.writeframes(np.random.default_rng(1).integers(-9000, 9000, 2 * rate * seconds, np.int16).tobytes())
    state = service.wait(service.submit(portrait, file.getvalue(), duration=0.5))
    assert state["status"] == "COMPLETED", state
    other = serve_on_ray("quick", data_dir=tmp_path / "second")
    time.sleep(1)
    assert health(other)["slots"] == 0, "the first server holds them"
    loop = service.synthesis._dispatcher._loop
    assert loop
    asyncio.run_coroutine_threadsafe(service.synthesis.drain(), loop).result(30)
    wait_for_slots(other, "one", "two")
    assert {name: actor_of(ray_cluster.nodes[name]).pid for name in ("one", "two")} == actors


def test_a_node_that_is_killed_and_one_that_joins(
    serve_on_ray: Callable[..., Service], ray_cluster: Cluster, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve_on_ray("waits", gate="1.0")
    wait_for_slots(service, "one", "two")
    tasks = [service.submit(portrait, speech, seed=seed, emotion="happy") for seed in range(6)]
    for name in ("one", "two"):
        wait_for(lambda: health(service)["slots_busy"] > 0)
        ray_cluster.nodes[name].kill()
        ray_cluster.start_node(name)
    states = [service.wait(task) for task in tasks]
    assert [(state["status"], state["attempts"]) for state in states] == [("COMPLETED", 1)] * 6
    wait_for_slots(service, "one", "two")
    assert scratch_files(ray_cluster) == []


def test_demand_is_shown_to_the_autoscaler(
    serve_on_ray: Callable[..., Service], ray_cluster: Cluster, portrait: Path, speech: Path
) -> None:
    service = serve_on_ray("gated", max_slots=5)
    wait_for_slots(service, "one", "two")
    for _ in range(7):
        service.submit(portrait, speech)
    wait_for(lambda: pending(ray_cluster) == 3, 30)


def pending(cluster: Cluster) -> int:
    """How many slots Ray's autoscaler is asked for."""
    code = (
        "import sys; from ray.autoscaler.v2.sdk import get_cluster_status\n"
        "demands = get_cluster_status(sys.argv[1]).resource_demands.ray_task_actor_demand\n"
        "print(sum(one.count for demand in demands for one in demand.bundles_by_count))"
    )
    command = [sys.executable, "-c", code, cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout.split()[-1])
