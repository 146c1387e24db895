"""What a worker says of an engine that says odd things, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dice_talk.cleaning import MOST_IN_PREVIEW, clean_progress
from dice_talk.engine import Progress, RenderJob
from dice_talk.error_codes import ErrorCode
from dice_talk.options import RenderOptions
from dice_talk.worker import Message, decode_event, encode_job
from tests.conftest import ROOT
from tests.fake_worker import ODD_ERRORS

MAX_LINE = 64 * 1024
"""The longest line that the service reads."""


class Worker:
    """An odd engine."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, speech: Path) -> None:
        self._process, self._folder, self._speech, self._number = process, folder, speech, 0
        assert self._next() == (0, {"event": "ready"})

    def render(self, seed: int) -> list[Message]:
        """The events of a job."""
        self._number += 1
        options = RenderOptions(emotion="sad", seed=seed, duration=0.5)
        job = RenderJob(self._folder / "image", self._speech, self._folder / "output", options)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(encode_job(self._number, job)).encode() + b"\n")
        self._process.stdin.flush()
        events: list[Message] = []
        while not events or events[-1]["event"] == "progress":
            number, event = self._next()
            assert number == self._number
            events.append(event)
        return events

    def _next(self) -> tuple[int, Message]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert len(line) < MAX_LINE
        return decode_event(line)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Iterator[Worker]:
    command = [sys.executable, "-m", "tests.fake_worker", "odd"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Worker(process, tmp_path_factory.mktemp("worker"), speech)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


FAILURES: list[dict[str, Any]] = [
    {"error": "x" * 1000, "detail": "d" * 1000, "params": {"value": "z" * 400}},
    {"error": "bad /secret", "detail": "d", "params": {"value": "/secret"}},
    {"error": "bad nan", "detail": "d", "params": {"value": "nan"}},
    {"error": "a code that is a text", "code": ErrorCode.NO_FACE},
    {"error": "a code that is none"},
    {"error": "a code of HTTP"},
    {"error": "half a letter ? and ?", "detail": "?", "params": {"value": "?"}},
    {"error": "The engine gave no reason"},
    {"error": "many", "params": {f"value{number}": "\U0001f600" * 400 for number in range(30)}},
]


@pytest.mark.parametrize("seed", range(len(ODD_ERRORS)))
def test_an_error_fails_the_task_at_once(worker: Worker, seed: int) -> None:
    usual: dict[str, Any] = {"event": "failed", "detail": None, "code": ErrorCode.RENDER_FAILED, "params": {}}
    assert worker.render(seed)[-1] == usual | FAILURES[seed]


def test_a_result_and_progress_are_cleaned(worker: Worker) -> None:
    *progress, done = worker.render(len(ODD_ERRORS))
    assert [list(event.values())[1:] for event in progress[1:4]] == [
        ["render", "half a letter ?", 0.2, 0, 0],
        ["s" * 32, "m" * 1000, 1, 0, 2**31 - 1],
        ["render", "None", 0.0, 0, 2**31 - 1],
    ]
    assert done["event"] == "done"
    assert done["versions"] == {"odd": "<class '__main__.Odd'>", "half": "?", "n" * 32: "v" * 400}


@pytest.mark.parametrize("line", ["", "{", "[]", '{"job": "1", "event": "done"}', '{"job": 1}', "[" * 100_000])
def test_other_lines_are_no_events(line: str) -> None:
    with pytest.raises(ValueError):
        decode_event(line.encode())


@pytest.mark.parametrize("preview", [b"PNG", "text", 3, b"\xff\xd8\xff" + bytes(MOST_IN_PREVIEW), None])
def test_a_preview_is_a_small_jpeg_or_none(preview: Any) -> None:
    assert clean_progress(Progress("denoise", "...", 0.5, preview=preview)).preview is None
    picture = b"\xff\xd8\xff small"
    assert clean_progress(Progress("denoise", "...", 0.5, preview=picture)).preview == picture
