"""SIGTERM, and the end of the terminal: no new tasks, time for the running ones, nothing lost, nobody left behind."""

import fcntl
import os
import signal
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for

GRACE_S = 2.0
LONG_S = 600.0
"""No test lasts so long: what ends, ends for another reason."""


def hang_up(service: ServerProcess, terminal: int) -> None:
    os.close(terminal)


ENDS: dict[str, Callable[[ServerProcess, int], None]] = {
    "SIGTERM": lambda service, terminal: service.process.send_signal(signal.SIGTERM),
    "SIGINT": lambda service, terminal: service.process.send_signal(signal.SIGINT),
    "closed terminal": hang_up,
}


def is_stopping(service: ServerProcess) -> bool:
    return service.health()["detail"] == "The server is shutting down"  # type: ignore[no-any-return]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_new_is_taken_and_what_is_there_can_be_asked_for(
    tmp_path: Path, portrait: Path, speech: Path, end: str
) -> None:
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        os.dup2(theirs, 2)

    with server_process(tmp_path, "gated", shutdown_seconds=LONG_S, preexec_fn=take_terminal) as service:
        tasks = [service.submit(portrait, speech) for _ in range(4)]
        for task in tasks[:2]:
            service.wait(task, "PROCESSING")
        ENDS[end](service, ours)
        wait_for(lambda: is_stopping(service))
        refused = service.start(portrait, speech)
        assert (refused.status_code, refused.json()["error"]) == (503, "The server is shutting down")
        assert refused.headers["retry-after"]
        assert [service.status(task)["status"] for task in tasks] == ["PROCESSING"] * 2 + ["PENDING"] * 2
        (tmp_path / "gate").touch()
        assert service.process.wait(200) == 0, "nobody waits longer than the tasks take"
        assert not service.engines()
        states = dict(service.rows("SELECT id, status FROM renders"))
        assert [states[task] for task in tasks] == ["COMPLETED"] * 2 + ["PENDING"] * 2
    with server_process(tmp_path, "gated") as service:
        assert [service.download(task).status_code for task in tasks[:2]] == [200, 200]
        assert [service.wait(task)["status"] for task in tasks[2:]] == ["COMPLETED"] * 2


def test_running_tasks_get_their_time_and_the_rest_is_kept(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with server_process(tmp_path, "gated", shutdown_seconds=GRACE_S) as service:
        tasks = [service.submit(portrait, speech) for _ in range(4)]
        for task in tasks[:2]:
            service.wait(task, "PROCESSING")
        begun = time.monotonic()
        assert service.terminate() == 0
        assert time.monotonic() - begun > GRACE_S
        assert not service.engines()
        assert service.rows("SELECT status, attempts FROM renders") == [("PENDING", 0)] * 4
    (tmp_path / "gate").touch()
    with server_process(tmp_path, "gated") as service:
        states = [service.wait(task) for task in tasks]
        assert [(state["status"], state["attempts"]) for state in states] == [("COMPLETED", 1)] * 4
        service.check_files()


def test_a_second_signal_is_impatient(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with server_process(tmp_path, "gated", shutdown_seconds=LONG_S) as service:
        task = service.submit(portrait, speech)
        service.wait(task, "PROCESSING")
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_stopping(service))
        assert service.terminate() == 0
        assert service.rows("SELECT status FROM renders") == [("PENDING",)]
        with pytest.raises(requests.ConnectionError):
            service.health()
