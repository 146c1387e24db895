"""A task's life in any order of requests, good and bad, over restarts and sweeps. LIVES=100 tries so many, not 6."""

import os
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from api.clock import Clock
from api.settings import Settings
from api.tasks.model import LEGAL, TaskStatus
from tests.conftest import Service, running
from tests.hostile.conftest import refused
from tests.hostile.samples import pictures, sound
from tests.waiting import wait_for

NOW = Clock()
LIVES = int(os.environ.get("LIVES", "6"))
PICTURE, SOUND = pictures()["RGB PNG"], sound()
BAD: dict[str, dict[str, Any]] = {
    "no emotion": {"emotion": None},
    "out of range": {"fps": 99},
    "no number": {"seed": "1e3"},
    "unknown field": {"colour": "red"},
    "no picture": {"image": b"GIF89a"},
    "half a picture": {"image": PICTURE[:-30]},
    "no sound": {"audio": b"#EXTM3U\nhttp://127.0.0.1/"},
    "no engine": {"engine": "best"},
}
UNKNOWN = ["f47ac10b-58cc-4372-a567-0e02b2c3d479", "x", "%00", "..%2f..%2fetc%2fpasswd"]


class Life(RuleBasedStateMachine):
    """Knows which tasks there are, and how each was when it was last seen."""

    folder: Path
    lives = 0

    @initialize(kind=st.sampled_from(["quick", "refuses"]))
    def start(self, kind: str) -> None:
        self.kind, self.late = kind, timedelta()
        self.seen: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}  # by task
        self.stack = ExitStack()
        type(self).lives += 1
        self.home = self.folder / str(self.lives)
        self.service = self.run()

    def run(self) -> Service:
        chosen = Settings(
            data_dir=self.home / "data",
            log_dir=self.home / "logs",
            shutdown_seconds=0.05,
            sweep_seconds=0.05,
            queue_size=4,
        )
        return self.stack.enter_context(running(chosen, self.kind, self.home / "gate", self.now))

    @property
    def base(self) -> str:
        return f"{self.service.url}/api/v1/synthesis"

    def now(self) -> datetime:
        return NOW() + self.late

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(seed=st.sampled_from([None, 1, 2]))
    def submit(self, seed: int | None) -> None:
        answer = self.service.start(PICTURE, SOUND, duration=0.1, seed=seed)
        if answer.status_code == 503:
            assert len(self.seen) >= 4
            assert answer.headers["retry-after"]
            return
        assert answer.status_code == 200, answer.text
        self.accept(answer.json()["task_id"])

    @rule(key=st.sampled_from(["a", "b"]), seed=st.sampled_from([1, 2]))
    def submit_once(self, key: str, seed: int) -> None:
        """The same again gives the same task, as long as that is there; something else is refused."""
        files = {"image": PICTURE, "audio": SOUND}
        data, headers = {"emotion": "sad", "duration": 0.1, "seed": seed}, {"Idempotency-Key": key}
        answer = requests.post(f"{self.base}/start", files=files, data=data, headers=headers, timeout=60)
        made = {state["seed"]: task for task in self.seen if self.keys.get(task) == key for state in [self.look(task)]}
        if made and seed not in made:
            refused(answer, 409)
        elif made:
            assert answer.json()["task_id"] == made[seed]
        elif answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            self.accept(answer.json()["task_id"])
            self.keys[answer.json()["task_id"]] = key

    def accept(self, task: str) -> None:
        assert task not in self.seen
        self.seen[task] = {"status": "PENDING", "progress": 0.0}
        self.look(task)

    @rule(bad=st.sampled_from(sorted(BAD)))
    def submit_badly(self, bad: str) -> None:
        fields: dict[str, Any] = {"image": PICTURE, "audio": SOUND, **BAD[bad]}
        answer = self.service.start(fields.pop("image"), fields.pop("audio"), **fields)
        assert answer.status_code == 503 or refused(answer, 400, 422)

    @rule(unknown=st.sampled_from(UNKNOWN), verb=st.sampled_from(["status", "download"]))
    def ask_for_another(self, unknown: str, verb: str) -> None:
        refused(requests.get(f"{self.service.url}/api/v1/synthesis/{unknown}/{verb}", timeout=60), 404)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def download(self, data: Any) -> None:
        task = data.draw(st.sampled_from(sorted(self.seen)))
        answer = self.service.download(task, Range="bytes=4-7")
        state = self.look(task)["status"]
        if answer.status_code == 206:
            assert (answer.content, state) == (b"ftyp", "COMPLETED")
        else:
            assert refused(answer, 400) == "Task not completed yet"

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        task = data.draw(st.sampled_from(sorted(self.seen)))
        answer = requests.post(f"{self.base}/{task}/cancel", timeout=60)
        state = self.look(task)
        if answer.status_code == 200:
            assert answer.json() == state
            assert (state["status"], state["message"], state["cancelled"]) == ("FAILED", "Cancelled", True)
        else:
            assert refused(answer, 409) == "The task has ended already"
            assert state["status"] in ("COMPLETED", "FAILED")

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        task = data.draw(st.sampled_from(sorted(self.seen)))
        assert requests.delete(f"{self.base}/{task}", timeout=20).status_code == 204
        del self.seen[task]
        refused(requests.get(f"{self.base}/{task}/status", timeout=60), 404)

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), seed=st.sampled_from([None, 1, 2]))
    def retry(self, data: Any, seed: int | None) -> None:
        task = data.draw(st.sampled_from(sorted(self.seen)))
        answer = requests.post(f"{self.base}/{task}/retry", json={"seed": seed}, timeout=20)
        if answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            self.accept(answer.json()["task_id"])

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def follow(self, data: Any) -> None:
        task = data.draw(st.sampled_from(sorted(self.seen)))
        text = requests.get(f"{self.base}/{task}/events", timeout=30).text
        assert text.rstrip().split("\n\n")[-1].startswith("event: end")
        assert self.look(task)["status"] in ("COMPLETED", "FAILED")

    @rule()
    def list(self) -> None:
        tasks = requests.get(self.base, params={"limit": 100}, timeout=60).json()["tasks"]
        assert {state["task_id"] for state in tasks} == set(self.seen)

    @precondition(lambda self: self.seen)
    @rule()
    def restart(self) -> None:
        self.stack.close()
        self.service = self.run()

    @rule()
    def wait(self) -> None:
        wait_for(lambda: all(self.look(task)["status"] in ("COMPLETED", "FAILED") for task in self.seen))

    @precondition(lambda self: self.seen)
    @rule()
    def a_day_passes(self) -> None:
        self.wait()
        self.late += timedelta(hours=25)
        for task in self.seen:
            wait_for(lambda task=task: self.service.download(task).status_code == 404)  # type: ignore[misc]
        self.seen.clear()
        wait_for(lambda: not self.service.files())

    def look(self, task: str) -> dict[str, Any]:
        state, before = self.service.status(task), self.seen[task]
        way = (TaskStatus(before["status"]), TaskStatus(state["status"]))
        # Between two requests, a task may have gone several steps, but it never leaves a final status.
        assert way[0] == way[1] or LEGAL[way[0]], way
        assert state["progress"] >= before["progress"]
        assert (state["status"] == "COMPLETED") == (state["progress"] == 1.0)
        assert (state["queue_position"] is None) == (state["status"] != "PENDING")
        assert state["status"] != "COMPLETED" or self.kind == "quick"
        self.seen[task] = state
        return dict(state)

    @invariant()
    def every_task_is_there_and_no_file_too_many(self) -> None:
        if hasattr(self, "service"):
            for task in self.seen:
                self.look(task)
            assert not [file for file in self.service.files() if file.startswith("incoming/")]
            store = self.service.synthesis._store
            wait_for(lambda: {Path(file).parts[1] for file in self.service.files()} == store.render_ids())


def test_any_order_of_requests(tmp_path: Path) -> None:
    Life.folder = tmp_path
    quick = settings(
        max_examples=LIVES,
        stateful_step_count=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Life, settings=quick)
    sys.stdout.write(f"{Life.lives} lives\n")
