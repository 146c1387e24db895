"""One Ray cluster on this machine for all tests here: a head without slots, and nodes that come and go."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from api.settings import Settings
from tests.conftest import Service, running
from tests.waiting import wait_for

pytest.importorskip("ray", reason="Ray is not installed: ./start_server.sh install ray")

from benchmarks.ray_cluster import DRIVER, Cluster, cluster


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    with cluster() as made:
        made.start_node("one")
        made.start_node("two")
        yield made


def health(service: Service) -> Any:
    return requests.get(f"{service.url}/api/health", timeout=60).json()


def wait_for_slots(service: Service, *nodes: str, seconds: float = 60) -> Any:
    """Wait until these nodes have the slots, one for each mention, and their engines are loaded."""

    def found() -> Any:
        said = health(service)
        there = [node["name"] for node in said["nodes"] for _ in range(node["slots"])]
        return said if there == sorted(nodes) and said["model_loaded"] else None

    return wait_for(found, seconds)


@pytest.fixture
def serve_on_ray(ray_cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start servers that render on the cluster: serve_on_ray(kind=None, **settings). `gate`: see fake_worker."""
    with ExitStack() as stack:

        def start(kind: str | None = None, gate: str = "gate", **changes: Any) -> Service:
            defaults = {
                "data_dir": tmp_path / "data",
                "log_dir": tmp_path / "logs",
                "shutdown_seconds": 0.1,
                "render_on": "ray",
                "ray_address": ray_cluster.address,
            }
            settings = Settings(**{**defaults, **changes})
            return stack.enter_context(running(settings, kind, tmp_path / gate, driver=DRIVER))

        yield start
