"""A disk that is full or may only be read: clear errors, nothing half done, and all goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for

MEGABYTE = 1024 * 1024
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def mounting(folder: Path, options: str) -> list[str]:
    """What starts a command with a tmpfs of its own on `folder`."""
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
    return [*UNSHARE, "sh", "-c", script, "sh", options, str(folder)]


CANNOT_MOUNT = subprocess.run([*mounting(Path("/mnt"), "size=1m"), "true"], capture_output=True).returncode != 0
pytestmark = [
    pytest.mark.skipif(CANNOT_MOUNT, reason="this machine lets nobody mount a tmpfs"),
    pytest.mark.timeout(300),
]


class SmallDisk:
    """A server whose data, database and logs lie on a tmpfs that only it sees."""

    def __init__(self, service: ServerProcess, folder: Path) -> None:
        self.service = service
        self.folder = Path(f"/proc/{service.process.pid}/root") / folder.relative_to("/")

    def fill(self, leave: int = 0) -> None:
        """Leaves that many bytes."""
        free = os.statvfs(self.folder)
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            filler.write(bytes(max(0, free.f_bavail * free.f_bsize - leave)))

    def empty(self) -> None:
        (self.folder / "filler").unlink()

    def files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder / "data"))
            for top in ("tasks", "incoming")
            for path in (self.folder / "data" / top).rglob("*")
        )


@contextmanager
def small_disk(folder: Path, kind: str | None, megabytes: int = 16, **changes: Any) -> Iterator[SmallDisk]:
    disk = folder / "disk"
    disk.mkdir()
    before = mounting(disk, f"size={megabytes}m")
    changes = {"min_free_mb": 0.0, **changes}
    with server_process(disk, kind, before=before, output=folder / "output", **changes) as service:
        yield SmallDisk(service, disk)


def test_while_uploading(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with small_disk(tmp_path, "quick") as disk:
        disk.fill(leave=MEGABYTE)
        refused = disk.service.start(portrait, speech.read_bytes() + bytes(5 * MEGABYTE))
        assert (refused.status_code, refused.json()["error"]) == (503, "The server has no room to store this")
        assert refused.headers["retry-after"]
        assert disk.files() == []
        disk.empty()
        task = disk.service.submit(portrait, speech)
        assert disk.service.wait(task)["status"] == "COMPLETED"


def test_while_rendering(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with small_disk(tmp_path, None, min_free_mb=1.0) as disk:
        service = disk.service
        tasks = [service.submit(portrait, speech, duration=None, min_resolution=512) for _ in range(2)]
        wait_for(lambda: service.status(tasks[0])["stage"] == "render")
        disk.fill()
        wait_for(lambda: service.health()["slots_busy"] == 0)
        health = service.health()
        assert (health["status"], health["detail"]) == ("unhealthy", "The server has too little room on its disk")
        assert not any(name.endswith(("result.mp4", ".part")) for name in disk.files())
        assert service.start(portrait, speech).status_code == 503
        disk.empty()
        states = [service.wait(task) for task in tasks]
        assert [state["status"] for state in states] == ["COMPLETED"] * 2
        assert service.health()["status"] == "healthy"
        assert service.terminate() == 0


def test_in_the_database(tmp_path: Path, portrait: Path, speech: Path) -> None:
    """It has a disk of its own here, so that nothing else can be what fails."""
    disk = tmp_path / "disk"
    disk.mkdir()
    url = f"sqlite:///{disk}/tasks.db"
    with server_process(tmp_path, "gated", before=mounting(disk, "size=2m"), database_url=url) as service:
        small = SmallDisk(service, disk)
        running = [service.submit(portrait, speech) for _ in range(2)]
        for task in running:
            service.wait(task, "PROCESSING")
        waiting = service.submit(portrait, speech)
        before = service.files()
        small.fill()
        assert service.status(waiting)["status"] == "PENDING", "what is known can still be told"
        refused = service.start(portrait, speech)
        assert (refused.status_code, refused.json()["error"]) == (503, "The server's database does not answer")
        inputs = [name for name in service.files() if not name.endswith(".part")]
        assert inputs == [name for name in before if not name.endswith(".part")]
        (tmp_path / "gate").touch()
        wait_for(lambda: sum(name.endswith("result.mp4") for name in service.files()) == 2)
        assert {service.status(task)["status"] for task in running} == {"PROCESSING"}
        small.empty()
        states = [service.wait(task) for task in (*running, waiting)]
        assert [(state["status"], state["attempts"]) for state in states] == [("COMPLETED", 1)] * 3


def test_what_is_only_kept_to_be_quick_needs_no_room(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with small_disk(tmp_path, "quick") as disk:
        task = disk.service.submit(portrait, speech)
        disk.service.wait(task)
        before = disk.files()
        disk.fill()
        base = f"{disk.service.url}/api/v1/synthesis/{task}"
        assert requests.get(f"{base}/poster", timeout=60).headers["content-type"] == "image/jpeg"
        assert requests.get(f"{base}/receipt", timeout=60).json()["result"]["frames"] == 12
        refused = requests.post(f"{base}/retry", timeout=60)
        assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
        assert disk.files() == before
        disk.empty()
        again = requests.post(f"{base}/retry", timeout=60).json()["task_id"]
        assert disk.service.wait(again)["status"] == "COMPLETED"


def test_below_the_low_water_mark(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with small_disk(tmp_path, "quick", min_free_mb=4.0) as disk:
        disk.fill(leave=3 * MEGABYTE)
        refused = disk.service.start(portrait, speech)
        assert (refused.status_code, refused.json()["error"]) == (503, "The server has too little room on its disk")
        assert refused.headers["retry-after"]
        assert disk.service.health()["status"] == "unhealthy"
        disk.empty()
        assert disk.service.start(portrait, speech).status_code == 200
        assert disk.service.health()["status"] == "healthy"


@pytest.mark.parametrize("place", ["data", "logs"])
def test_a_folder_that_may_only_be_read_is_refused_in_one_line(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir()
    with server_process(tmp_path, before=mounting(folder, "ro")) as service:
        assert service.process.wait(100) == 1
    (line,) = (tmp_path / "output").read_text().splitlines()
    assert line.startswith("DICE-Talk Server cannot start: the ")
    assert "Read-only file system" in line
