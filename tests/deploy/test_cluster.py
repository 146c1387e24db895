"""The profile `cluster` of compose.yaml as processes of this machine: its proxy, two servers, PostgreSQL, an S3 server.

Rendering on Ray is tried elsewhere.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.postgres import Postgres
from benchmarks.serving import free_port
from tests.conftest import ROOT, Service
from tests.faults.cluster import Cluster, cluster
from tests.s3 import S3Server
from tests.waiting import wait_for


@contextmanager
def proxy(folder: Path, servers: Cluster) -> Iterator[str]:
    """Caddy with the shipped file, in which only names and ports are changed."""
    if shutil.which("caddy") is None:
        pytest.skip("no caddy: deploy/cluster.Caddyfile is not tested; on Debian and Ubuntu, apt-get install caddy")
    site, port = (ROOT / "deploy" / "cluster.Caddyfile").read_text(), free_port()
    addresses = [server.url.removeprefix("http://") for server in servers.servers]
    for shipped, used in (
        ("\n:8000 {\n", f"\n{{\n\tadmin off\n}}\nhttp://localhost:{port} {{\n\tbind 127.0.0.1\n"),
        ("server-1:8000", addresses[0]),
        ("server-2:8000", addresses[1]),
    ):
        assert site.count(shipped) == 1
        site = site.replace(shipped, used)
    (folder / "Caddyfile").write_text(site)
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with (folder / "caddy").open("w") as output:
        process = subprocess.Popen(command, env={**os.environ, **homes}, stdout=output, stderr=output)
    try:
        wait_for(lambda: requests.get(f"http://localhost:{port}/api/ready", timeout=20).ok if listens(port) else None)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    try:
        requests.get(f"http://localhost:{port}/api/live", timeout=20)
    except requests.ConnectionError:
        return False
    return True


def submit(front: Service, portrait: Path, speech: Path, key: str) -> str:
    """Submit the same request as often as needed: Caddy 2.6 answers uploads with 502 until it knows of a death."""
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
    answer = wait_for(
        lambda: requests.post(
            f"{front.url}/api/v1/synthesis/start",
            files=files,
            data={"emotion": "happy", "duration": 0.5},
            headers={"Idempotency-Key": key},
            timeout=60,
        ),
        20,
    )
    return str(answer.json()["task_id"])


def test_clients_go_on_when_a_server_dies(
    tmp_path: Path, postgres_server: Postgres, s3: S3Server, portrait: Path, speech: Path
) -> None:
    settings: dict[str, Any] = {"storage_url": s3.new_bucket(), "workers": 1, "trusted_proxies": "127.0.0.1"}
    with cluster(tmp_path, postgres_server, 2, **settings) as servers, proxy(tmp_path, servers) as url:
        front = Service(url, servers.servers[0].settings, None)  # type: ignore[arg-type]
        first = [front.submit(portrait, speech) for _ in range(3)]
        assert [front.wait(task)["status"] for task in first] == ["COMPLETED"] * 3
        videos = [front.download(task).content for task in first]
        servers.leader().kill()
        later = [submit(front, portrait, speech, f"order {number}") for number in range(3)]
        assert [front.wait(task)["status"] for task in later] == ["COMPLETED"] * 3
        assert [front.download(task).content for task in first] == videos
        part = front.download(later[0], Range="bytes=4-7")
        assert (part.status_code, part.content) == (206, b"ftyp")
