"""kill -9 of what inspects uploads: the process that forks, and its children."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import ROOT
from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for

POSTS, CLIENTS = 200, 4
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="inspections are forked on Linux only"),
]


def lookers(service: ServerProcess) -> list[psutil.Process]:
    """The fork server, and the children that it has at the moment."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(service.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "dice_talk.forkserver" in process.cmdline():
                    found.append(process)
    return found


def gone(processes: set[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_every_upload_is_answered_whoever_is_killed(tmp_path: Path, portrait: Path, speech: Path) -> None:
    """If its child is killed again and again, the upload is refused with a clear error."""
    seen: set[psutil.Process] = set()
    taken: list[int] = []
    kills: Counter[bool] = Counter()  # by whether it was the one that forks
    done, chance = threading.Event(), random.Random(1)

    def kill_now_and_then(service: ServerProcess) -> None:
        answered = 0
        while not done.wait(chance.uniform(0, 0.3)):
            if len(taken) == answered:
                continue  # on a busy machine it takes seconds to start, and is to get that far
            answered, found = len(taken), lookers(service)
            seen.update(found)
            if found:
                victim = chance.choice(found)
                with suppress(psutil.NoSuchProcess):
                    kills[victim.ppid() == service.process.pid] += 1
                    victim.kill()

    with server_process(tmp_path, "quick", queue_size=2 * POSTS) as service:
        killer = threading.Thread(target=kill_now_and_then, args=[service])
        killer.start()

        def post(number: int) -> str:
            answer = service.start(portrait.read_bytes() + b"%d" % number, speech)
            if answer.status_code == 200:
                taken.append(number)
            return f"{answer.status_code} {answer.json().get('error', '')}"

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = Counter(pool.map(post, range(POSTS)))
        done.set()
        killer.join()
        assert answers.keys() <= {"200 ", "503 The files could not be looked at"}, answers
        assert answers["200 "] > POSTS / 2, (answers, kills)
        assert kills[True]
        assert service.start(portrait, speech).status_code == 200
        seen.update(lookers(service))
        assert service.terminate() == 0
    wait_for(lambda: gone(seen), 5)


def test_it_has_one_thread_and_nothing_of_the_server(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with server_process(tmp_path, "quick") as service:
        assert service.start(portrait, speech).status_code == 200
        with portrait.open("rb") as image:
            assert requests.post(f"{service.url}/api/v1/preflight", files={"image": image}, timeout=60).ok
        forking = lookers(service)
        assert len(forking) == 2
        for process in forking:
            assert process.num_threads() == 1
            assert process.memory_full_info().uss < 128 << 20
            assert not process.net_connections("inet")
            assert not [file for file in process.open_files() if not file.path.startswith(("/usr", str(ROOT)))]
        service.kill()  # and nothing ends them but the end of their standard input
        wait_for(lambda: gone(set(forking)), 5)


def test_a_fork_server_that_dies_is_replaced(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with server_process(tmp_path, "quick") as service:
        (first,) = wait_for(lambda: lookers(service))
        first.kill()
        start = time.monotonic()
        assert service.start(portrait, speech).status_code == 200
        assert time.monotonic() - start < 30
        (second,) = lookers(service)
        assert second.pid != first.pid
