"""The engines' own process: its messages, and how it reports every outcome."""

import base64
import errno
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dice_talk.cleaning import MOST_IN_PREVIEW
from dice_talk.engine import Engine, Precision, Progress, RenderJob, RenderResult, Report, Tuning
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, InvalidAudio
from dice_talk.labels import UNNAMED, Labels
from dice_talk.options import RenderOptions
from dice_talk.preview import encode_preview
from dice_talk.worker import (
    Message,
    _render,
    decode_job,
    decode_progress,
    encode_cancel,
    encode_job,
    encode_progress,
    flags_of,
    tuning_of,
)
from tests.conftest import ROOT
from tests.fake_worker import FakeEngine

OPTIONS = RenderOptions(emotion="happy", seed=3, duration=0.3, fps=10)
LABELS = Labels(content_producer="某某公司", produce_id="1")
BROKEN = """
import sys
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable
from dice_talk.worker import serve

def load():
    print("a library's greeting")
    raise EngineUnavailable(ErrorCode.WEIGHTS_DAMAGED, "The weights are damaged", "Fetch them.")

serve(load)
"""


@pytest.fixture
def job(portrait: Path, speech: Path, tmp_path: Path) -> RenderJob:
    return RenderJob(portrait, speech, tmp_path / "out.mp4", OPTIONS, labels=LABELS)


class Stage:
    """An engine that does what it is given."""

    name = "stage"

    def __init__(self, act: Callable[[RenderJob, Report], RenderResult]) -> None:
        self.render = act


def failing(error: BaseException) -> Engine:
    """Return an engine that fails in the middle of a file."""

    def act(job: RenderJob, report: Report) -> RenderResult:
        job.output.write_bytes(b"half a file")
        raise error

    return Stage(act)


def rendered(engine: Engine, job: RenderJob, cancel: threading.Event | None = None) -> list[Message]:
    """Return what is said of job 7. It is forgotten at the end."""
    said: list[Message] = []
    cancels = {7: cancel or threading.Event(), 8: threading.Event()}
    _render(engine, job, 7, cancels, said.append)
    assert list(cancels) == [8]
    assert {message.pop("job") for message in said} == {7}
    return said


@pytest.mark.parametrize("state", [None, Path("/data/state")])
def test_a_job_survives_its_encoding(job: RenderJob, state: Path | None) -> None:
    job = replace(job, state=state)
    message = json.loads(json.dumps(encode_job(7, job)))
    assert message["job"] == 7
    assert decode_job(message["render"]) == job


def test_a_cancellation_is_no_job() -> None:
    assert encode_cancel(7) == {"job": 7, "cancel": True}


@pytest.mark.parametrize(
    ("tuning", "flags"),
    [
        (Tuning(), []),
        (Tuning(compiled=True), ["--compile"]),
        (Tuning(all_gpus=True), ["--all-gpus"]),
        (Tuning(compiled=True, all_gpus=True), ["--compile", "--all-gpus"]),
        (Tuning(precision=Precision.BF16), ["--precision=bf16"]),
        (Tuning(compiled=True, precision=Precision.FP32), ["--compile", "--precision=fp32"]),
    ],
)
def test_flags(tuning: Tuning, flags: list[str]) -> None:
    assert flags_of(tuning) == flags
    assert tuning_of(flags) == tuning


@pytest.mark.parametrize("flag", ["--fast", "--precision=fp8", "--precision"])
def test_a_flag_that_there_is_not(flag: str) -> None:
    with pytest.raises((LookupError, ValueError)):
        tuning_of([flag])


def test_a_preview_survives_its_encoding() -> None:
    preview = encode_preview(np.zeros((40, 60, 3), np.uint8), UNNAMED)
    progress = Progress("denoise", "Generating video...", 0.5, 3, 8, preview)
    message = json.loads(json.dumps(encode_progress(progress)))
    assert message["event"] == "progress" and decode_progress(message) == progress
    assert "preview" not in encode_progress(replace(progress, preview=None))
    for wrong in ("no base64", base64.b64encode(b"no JPEG").decode(), 3):
        with suppress(TypeError, ValueError):
            assert decode_progress({**message, "preview": wrong}).preview is None


def test_the_longest_message_with_a_preview_is_a_line_that_is_read() -> None:
    """asyncio's readers take lines of 64 KiB."""
    preview = b"\xff\xd8\xff".ljust(MOST_IN_PREVIEW, b"x")
    progress = Progress("x" * 99, "\U0001f600" * 2000, 1.0, 2**40, 2**40, preview)
    line = json.dumps({"job": 2**31, **encode_progress(progress)}, ensure_ascii=False).encode()
    assert decode_progress(json.loads(line)).preview == preview
    assert len(line) < 2**16


def test_a_video_that_was_made(job: RenderJob, tmp_path: Path) -> None:
    *progress, done = rendered(FakeEngine("quick", tmp_path), job)
    assert [(message["event"], message["fraction"]) for message in progress] == [("progress", 0.1), ("progress", 0.5)]
    assert progress[-1] == {
        "event": "progress",
        "stage": "render",
        "message": "Generating video...",
        "fraction": 0.5,
        "step": 1,
        "steps": 2,
    }
    assert (done["event"], done["width"], done["frames"], done["seconds"]) == ("done", 128, 3, 0.3)
    assert job.output.exists()
    json.dumps(done)


def test_a_video_that_is_not_what_was_promised_fails(job: RenderJob, tmp_path: Path) -> None:
    *_, outcome = rendered(FakeEngine("lies", tmp_path), job)
    assert (outcome["event"], outcome["code"]) == ("failed", "result_invalid")
    assert not job.output.exists()


def test_a_cancelled_job_ends_at_its_next_report(job: RenderJob) -> None:
    cancel, reports = threading.Event(), []

    def act(job: RenderJob, report: Report) -> RenderResult:
        job.output.write_bytes(b"half a file")
        for number in range(10):
            reports.append(number)
            report(Progress("render", "Generating video...", number / 10))
            cancel.set()
        raise AssertionError

    said = rendered(Stage(act), job, cancel)
    assert [message["event"] for message in said] == ["progress", "cancelled"]
    assert reports == [0, 1] and not job.output.exists()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), {"event": "no_room"}),
        (OSError(errno.EACCES, "secret"), {"event": "crashed", "error": "PermissionError", "memory": False}),
        (MemoryError(), {"event": "crashed", "error": "MemoryError", "memory": True}),
        (ZeroDivisionError("secret"), {"event": "crashed", "error": "ZeroDivisionError", "memory": False}),
        (SystemExit(1), {"event": "crashed", "error": "SystemExit", "memory": False}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_tell_what_kind_they_are_and_no_more(job: RenderJob, error: BaseException, outcome: Message) -> None:
    assert rendered(failing(error), job) == [outcome]
    assert not job.output.exists()


def test_input_that_is_to_blame_fails_in_words(job: RenderJob) -> None:
    error: DiceTalkError = InvalidAudio(ErrorCode.AUDIO_CHANNELS, "{channels} channels", "At most 16.", channels=17)
    assert rendered(failing(error), job) == [{"event": "failed", **error.facts()}]
    assert not job.output.exists()


def test_standard_output_carries_messages_alone() -> None:
    """What libraries print goes elsewhere. An engine that can't be loaded is the failure of job 0."""
    running = subprocess.Popen(
        [sys.executable, "-c", BROKEN],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # the process would end at once where this ended
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout and running.stderr
    (line,) = running.stdout.read().splitlines()
    assert "a library's greeting" in running.stderr.read()
    running.communicate(timeout=60)
    assert running.returncode == 0
    facts = {"error": "The weights are damaged", "detail": "Fetch them.", "code": "weights_damaged", "params": {}}
    assert json.loads(line) == {"job": 0, "event": "failed", **facts}
