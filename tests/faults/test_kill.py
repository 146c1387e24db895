"""kill -9 of the whole service: whatever a client was promised is there afterwards."""

import io
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile

from dice_talk.video import probe
from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for

MORE = float(os.environ.get("KILLS", "1"))
STREAMS, KILLS, KILLS_AMID_CHANGES = 2, round(8 * MORE), round(6 * MORE)
"""In all 22 moments: in each of the streams, and while tasks are cancelled and removed too. KILLS=3 triples them."""
CLIENTS = 2
TRIES = 1000  # so that being killed again and again is no reason to fail


@pytest.mark.timeout(600)
def test_with_tasks_finished_running_and_waiting(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with server_process(tmp_path) as service:
        finished = [service.submit(portrait, speech, seed=seed) for seed in range(3)]
        videos = {task: service.download(task).content for task in finished if service.wait(task)}
        running = [service.submit(portrait, repeated(speech, 3), duration=None, min_resolution=512) for _ in range(2)]
        with ThreadPoolExecutor(8) as pool:
            waiting = set(pool.map(lambda _: service.submit(portrait, speech, emotion="sad"), range(20)))
        for task in running:
            service.wait(task, "PROCESSING")
        service.kill()
        wait_for(lambda: not service.engines())
        order = [render for (render,) in service.rows("SELECT id FROM renders ORDER BY number")]
        assert order[:5] == finished + running
        assert set(order[5:]) == waiting
    with server_process(tmp_path) as service:
        assert {task: service.download(task).content for task in finished} == videos
        assert service.start(portrait, speech, seed=1).json()["status"] == "COMPLETED", "the cache outlives it too"
        states = [service.wait(task) for task in order[3:]]
        assert [state["status"] for state in states] == ["COMPLETED"] * 22
        assert [state["attempts"] for state in states] == [2] * 2 + [1] * 20
        started = [render for (render,) in service.rows("SELECT id FROM renders ORDER BY started_at")]
        assert [render for render in started if render in waiting] == order[5:]
        video = tmp_path / "result.mp4"
        video.write_bytes(service.download(running[0]).content)
        assert probe(video).frames == 3 * 198
        service.check_files()
        assert service.terminate() == 0


def repeated(speech: Path, times: int) -> bytes:
    """A WAV file that says the same again and again."""
    samples, rate = soundfile.read(speech)
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, times), rate, format="WAV")
    return file.getvalue()


class Stream:
    """Clients that submit without a pause, to a service that is killed again and again."""

    def __init__(self, folder: Path, portrait: Path, speech: Path, seed: int) -> None:
        self.folder, self.inputs, self.random = folder, (portrait, speech), random.Random(seed)
        self.promised: list[str] = []
        self.completed: set[str] = set()
        folder.mkdir()

    def run(self, kills: int) -> ServerProcess:
        with server_process(self.folder, "quick", attempts=TRIES) as service:
            began = time.monotonic()
            self.promised.append(service.submit(*self.inputs))
            life = min(max(1.0, 3 * (time.monotonic() - began)), 12.0)  # some are accepted in it, on busy machines too
        for _ in range(kills):
            with server_process(self.folder, "quick", attempts=TRIES) as service:
                killer = threading.Timer(self.random.uniform(0, life), service.kill)
                killer.start()
                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(self.submit_until_it_dies, [service] * CLIENTS))
                killer.join()
        with server_process(self.folder, "quick", attempts=TRIES) as service:
            states = [service.wait(task) for task in self.promised]
            assert {state["status"] for state in states} <= {"COMPLETED", "FAILED"}
            self.completed = {state["task_id"] for state in states if state["status"] == "COMPLETED"}
            wait_for(lambda: not service.rows("SELECT id FROM renders WHERE finished_at IS NULL"))
            service.check_files()
            for task in self.completed:
                assert service.download(task).status_code == 200
            assert service.terminate() == 0
            return service

    def submit_until_it_dies(self, service: ServerProcess) -> None:
        while True:
            try:
                answer = service.start(*self.inputs, seed=self.random.choice([None, 1]))
                if answer.status_code == 200:
                    self.promised.append(answer.json()["task_id"])
            except requests.RequestException:
                if service.process.poll() is not None:
                    return
            time.sleep(0.05)


@pytest.mark.timeout(1200)
def test_at_random_moments_in_a_stream_of_submissions(tmp_path: Path, portrait: Path, speech: Path) -> None:
    streams = [Stream(tmp_path / str(number), portrait, speech, number) for number in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(lambda stream: stream.run(KILLS), streams))
    promised = [task for stream in streams for task in stream.promised]
    assert len(promised) > STREAMS * KILLS
    assert all(set(stream.promised) == stream.completed for stream in streams), "no input here fails by itself"


class Changes(Stream):
    """Clients that also cancel and remove what they submitted, or submit it again."""

    def __init__(self, folder: Path, portrait: Path, speech: Path, seed: int) -> None:
        super().__init__(folder, portrait, speech, seed)
        self.cancelled: set[str] = set()
        self.removed: set[str] = set()
        self.unsure: set[str] = set()

    def run(self, kills: int) -> ServerProcess:
        while kills > 0 or not (self.cancelled and self.removed):  # busy machines get that far more seldom
            kills -= 1
            with server_process(self.folder, "quick", attempts=TRIES, workers=1) as service:
                killer = threading.Timer(self.random.uniform(0.5, 2.5), service.kill)
                killer.start()
                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(self.change_until_it_dies, [service] * CLIENTS))
                killer.join()
        with server_process(self.folder, "quick", attempts=TRIES, workers=1) as service:
            for task in set(self.promised) - self.unsure:
                url = f"{service.url}/api/v1/synthesis/{task}/status"
                if task in self.removed:
                    assert requests.get(url, timeout=60).status_code == 404
                elif task in self.cancelled:
                    assert service.status(task)["cancelled"]
                else:
                    assert service.wait(task, seconds=120)["status"] == "COMPLETED"
            wait_for(lambda: not service.rows("SELECT id FROM renders WHERE finished_at IS NULL"))
            service.check_files()
            assert service.terminate() == 0
            return service

    def change_until_it_dies(self, service: ServerProcess) -> None:
        base, task = f"{service.url}/api/v1/synthesis", ""
        while True:
            try:
                answer = service.start(*self.inputs, seed=self.random.choice([None, 1]))
                task = answer.json()["task_id"]
                self.promised.append(task)
                self.unsure.add(task)  # until it is known whether the call was heard
                time.sleep(self.random.choice([0, 0.1, 0.5]))
                call = self.random.choice(["cancel", "remove", "retry", "nothing"])
                if call == "cancel" and requests.post(f"{base}/{task}/cancel", timeout=30).status_code == 200:
                    self.cancelled.add(task)
                if call == "remove":
                    assert requests.delete(f"{base}/{task}", timeout=30).status_code == 204
                    self.removed.add(task)
                if call == "retry":
                    self.promised.append(requests.post(f"{base}/{task}/retry", timeout=30).json()["task_id"])
                self.unsure.discard(task)
            except requests.RequestException:
                if service.process.poll() is not None:
                    return


@pytest.mark.timeout(1200)
def test_at_random_moments_while_tasks_are_cancelled_and_removed(tmp_path: Path, portrait: Path, speech: Path) -> None:
    stream = Changes(tmp_path / "data", portrait, speech, 7)
    stream.run(KILLS_AMID_CHANGES)
    assert stream.cancelled
    assert stream.removed
