"""Kills nodes of a Ray cluster while it renders: python -m benchmarks.ray_faults [--tasks 40] [--kills 20] [--seed 1].

Starts a head without slots, two nodes and a server, all on 127.0.0.1 and in a temporary folder, with an engine that
waits and then writes a small video. At random moments, a node's raylet, its actors and their engines are killed with
SIGKILL, and the node is started again. Then a third node joins, an actor is frozen, and the head is killed and started
again. Takes ten minutes on two cores; exit code 1 if a task was lost, made twice or lost an attempt, or a file is left.
"""

import argparse
import contextlib
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from api.app import create_app
from api.server import http_server
from api.settings import Settings
from benchmarks.ray_cluster import DRIVER, Cluster, RayNode, cluster
from benchmarks.serving import submit

WORK_S = 2.0
PATIENCE_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with cluster() as ray, tempfile.TemporaryDirectory() as folder:
        for name in ("one", "two"):
            ray.start_node(name)
        with serving(ray, Path(folder)) as url:
            wait(lambda: slots(url) == 2)
            problems = kill_nodes(url, ray, arguments.tasks, arguments.kills)
            join(url, ray)
            freeze(url, ray)
            problems += restart_head(url, ray)
            problems += left_files(ray)
    print("\n".join(problems) or "nothing was lost, made twice or left behind")
    sys.exit(bool(problems))


@contextmanager
def serving(ray: Cluster, folder: Path) -> Iterator[str]:
    """A server in this process. Returns its address."""
    settings = Settings(
        port=0,
        data_dir=folder / "data",
        log_dir=folder / "logs",
        render_on="ray",
        ray_address=ray.address,
        shutdown_seconds=0.1,
    )
    engine = [sys.executable, "-m", "tests.fake_worker", "waits", f"/{WORK_S}"]
    app = create_app(settings, command=lambda _: engine, driver=DRIVER)
    listener = socket.create_server(("127.0.0.1", 0))
    server = http_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        wait(lambda: answers(url))
        yield url
    finally:
        server.should_exit = True
        thread.join()


def answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/api/live", timeout=60).ok
    return False


def health(url: str) -> dict[str, Any]:
    return dict(requests.get(f"{url}/api/health", timeout=60).json())


def slots(url: str) -> int:
    said = health(url)
    return int(said["slots"]) if said["model_loaded"] else 0


def status(url: str, task: str) -> dict[str, Any]:
    return dict(requests.get(f"{url}/api/v1/synthesis/{task}/status", timeout=60).json())


def wait(condition: Callable[[], object]) -> float:
    """Wait until something is true. Returns the seconds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError
        time.sleep(0.05)
    return time.monotonic() - began


def kill_nodes(url: str, ray: Cluster, tasks: int, kills: int) -> list[str]:
    """Kill nodes at random moments while tasks are rendered."""
    ids = [submit(url, seed=seed, duration=0.5) for seed in range(tasks)]
    for _ in range(kills):
        time.sleep(random.uniform(0, 2 * WORK_S))
        node = random.choice([node for node in ray.nodes.values() if node.name != "head"])
        noticed = noticing(url, node, node.kill)
        ray.start_node(node.name)
        back = wait(lambda: slots(url) == 2)
        print(f"{node.name} killed: noticed after {noticed:.1f} s, renders {back:.1f} s after Ray's start", flush=True)
    wait(lambda: all(status(url, task)["status"] in ("COMPLETED", "FAILED") for task in ids))
    return judged(url, ids)


def judged(url: str, ids: list[str]) -> list[str]:
    """Return what is wrong with the tasks."""
    problems = []
    for task in ids:
        state = status(url, task)
        if (state["status"], state["attempts"]) != ("COMPLETED", 1):
            problems.append(f"{task}: {state['status']} after {state['attempts']} attempts: {state['message']}")
        elif not requests.get(f"{url}/api/v1/synthesis/{task}/download", timeout=60).ok:
            problems.append(f"{task}: it has no video")
    return problems


def noticing(url: str, node: RayNode, harm: Callable[[], object]) -> float:
    """Do harm to a node. Returns the seconds until its slots are gone."""
    harm()
    return wait(lambda: node.name not in [one["name"] for one in health(url)["nodes"]])


def join(url: str, ray: Cluster) -> None:
    """Have a third node join while tasks wait."""
    ids = [submit(url, seed=1000 + seed, duration=0.5) for seed in range(50)]
    wait(lambda: health(url)["slots_busy"] == 2)
    ray.start_node("three")
    taken = wait(lambda: "three" in [one["name"] for one in health(url)["nodes"] if one["slots_busy"]])
    print(f"a third node takes work {taken:.1f} s after Ray's own start", flush=True)
    for task in ids:
        requests.post(f"{url}/api/v1/synthesis/{task}/cancel", timeout=60)
    wait(lambda: health(url)["slots_busy"] == 0)


def freeze(url: str, ray: Cluster) -> None:
    """Freeze an actor that renders."""
    task = submit(url, seed=2000, duration=0.5)
    wait(lambda: status(url, task)["status"] == "PROCESSING")
    busy = next(one["name"] for one in health(url)["nodes"] if one["slots_busy"])
    actor = next(one for one in ray.nodes[busy].processes() if "SlotActor" in one.name())
    noticed = noticing(url, ray.nodes[busy], actor.suspend)
    wait(lambda: status(url, task)["status"] == "COMPLETED")
    print(f"a frozen actor: noticed after {noticed:.1f} s", flush=True)


def restart_head(url: str, ray: Cluster) -> list[str]:
    """Kill the head, and start it again with its nodes, as an operator of Kubernetes does."""
    ids = [submit(url, seed=3000 + seed, duration=0.5) for seed in range(4)]
    wait(lambda: health(url)["slots_busy"] >= 2)
    ray.nodes["head"].kill()
    noticed = wait(lambda: health(url)["detail"])
    print(f"the head killed: health says so after {noticed:.1f} s: {health(url)['detail']}", flush=True)
    for node in [node for node in ray.nodes.values() if node.name != "head"]:
        node.kill()
    ray.start_head()
    for name in ("one", "two"):
        ray.start_node(name)
    back = wait(lambda: slots(url) == 2)
    print(f"{back:.1f} s after the new start of all, it renders", flush=True)
    wait(lambda: all(status(url, task)["status"] == "COMPLETED" for task in ids))
    return judged(url, ids)


def left_files(ray: Cluster) -> list[str]:
    found = (ray.folder / "scratch").glob("dice-talk-node-*/*/*")
    return [f"left on a node: {path}" for path in found if path.name != "lock"]


if __name__ == "__main__":
    main()
