"""Rendering on a Ray cluster is what rendering on this machine is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.ray_cluster import Cluster
from tests.cluster.conftest import wait_for_slots
from tests.conftest import Service


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
