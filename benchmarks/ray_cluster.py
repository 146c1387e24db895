"""A Ray cluster on this machine, for tests and benchmarks. All of it listens on 127.0.0.1 only.

Whoever reaches a port of Ray's can run programs, and Ray listens on every interface unless an address is exactly
127.0.0.1, which it replaces by another one. `python -m benchmarks.ray_cluster start ...` is `ray start` without that
replacement, and `python -m benchmarks.ray_cluster driver` the service's driver.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving import ROOT, free_port
from dice_talk.node import RESOURCE

LOOPBACK = "127.0.0.1"
DRIVER = [sys.executable, "-m", "benchmarks.ray_cluster", "driver"]
VARIABLES = {
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
STORE_BYTES = 100 << 20
STARTED, START_S = b"Ray runtime started", 120.0


@dataclass
class RayNode:
    """A raylet with its workers, and the process that started it."""

    name: str
    process: "subprocess.Popen[bytes]"

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """What a power cut does."""
        for one in self.processes():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.kill()
        self.process.wait()


@dataclass
class Cluster:
    """A head without slots, and nodes."""

    folder: Path
    port: int
    nodes: dict[str, RayNode] = field(default_factory=dict)
    heads: int = 0  # started so far

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def start_head(self) -> RayNode:
        self.heads += 1  # with the folder of an earlier one, Ray believes that it still runs
        head = ["--head", f"--port={self.port}", f"--temp-dir={self.folder}/{self.heads}", "--num-cpus=0"]
        return self._start("head", [*head, "--include-dashboard=false"])

    def start_node(self, name: str, slots: int = 1, *options: str) -> RayNode:
        offered = f'--resources={{"{RESOURCE}": {slots}}}'
        return self._start(name, [f"--address={self.address}", offered, "--num-cpus=1", *options])

    def _start(self, name: str, options: list[str]) -> RayNode:
        program = [sys.executable, "-m", "benchmarks.ray_cluster", "start", "--block"]
        common = [f"--node-ip-address={LOOPBACK}", f"--node-name={name}", f"--object-store-memory={STORE_BYTES}"]
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*program, *common, *options], cwd=ROOT, env=self.variables(), stdout=said, stderr=said
            )
        node = self.nodes[name] = RayNode(name, process)
        end = time.monotonic() + START_S
        while STARTED not in log.read_bytes():  # several that start at once can wait for each other
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not start: {log.read_text()}")
            time.sleep(0.05)
        return node

    def variables(self) -> dict[str, str]:
        """For all processes of the cluster. Temporary files of nodes lie in one folder, to be looked at."""
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return {**os.environ, **VARIABLES, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}

    def close(self) -> None:
        for node in reversed(self.nodes.values()):
            node.kill()


@contextmanager
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # paths of sockets are short
    made = Cluster(folder, free_port())
    try:
        made.start_head()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def stay_on_loopback() -> None:
    """Keep Ray from replacing 127.0.0.1 by the address of this machine."""
    from ray._private import services, worker

    def same(address: str) -> str:
        return address

    services.resolve_ip_for_localhost = same
    worker.services.resolve_ip_for_localhost = same


def drive() -> None:
    """Run the service's driver."""
    import ray

    from api.rendering.cluster import driver

    stay_on_loopback()
    join = ray.init

    def init(**options: Any) -> Any:
        return join(**options, _node_ip_address=LOOPBACK)

    ray.init = init
    driver.main()


def start() -> None:
    """Run `ray start`."""
    stay_on_loopback()
    from ray.scripts.scripts import main

    main()


if __name__ == "__main__":
    start() if sys.argv[1] == "start" else drive()
