"""Engine processes that misbehave on purpose: `python -m tests.fake_worker KIND [GATE]`.

They speak through the real `dice_talk.worker`; only the rendering is made up, and "quick" writes a real video. "waits"
takes as many seconds as the name of its gate says.
"""

import errno
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from dice_talk.audio import load_speech
from dice_talk.engine import Engine, Progress, RenderJob, RenderResult, Report
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, NoFaceFound
from dice_talk.preview import encode_preview
from dice_talk.video import VideoWriter, frame_count
from dice_talk.worker import serve


class Odd:
    """An object that no JSON can hold."""


RENDER_FAILED = ErrorCode.RENDER_FAILED
ODD_ERRORS: tuple[Callable[[], DiceTalkError], ...] = (
    lambda: DiceTalkError(RENDER_FAILED, "x" * 200_000, "d" * 200_000, value="z" * 70_000),
    lambda: DiceTalkError(RENDER_FAILED, "bad {value}", "d", value=Path("/secret")),
    lambda: DiceTalkError(RENDER_FAILED, "bad {value}", "d", value=math.nan),
    lambda: DiceTalkError(cast("ErrorCode", "no_face"), "a code that is a text"),
    lambda: DiceTalkError(cast("ErrorCode", Odd()), "a code that is none"),
    lambda: DiceTalkError(ErrorCode.QUEUE_FULL, "a code of HTTP"),
    lambda: DiceTalkError(RENDER_FAILED, "half a letter \ud800 and \0", "\ud800", value="\ud800"),
    lambda: DiceTalkError(RENDER_FAILED, cast("str", None)),
    lambda: DiceTalkError(RENDER_FAILED, "many", **{f"value{number}": "\U0001f600" * 999 for number in range(99)}),
)
"""By the seed of the job. Every type checker refuses some of them, and so may the code of others."""
ODD_PROGRESS = (
    Progress("render", "half a letter \ud800", 0.2),
    Progress("s" * 500, "m" * 100_000, 7.0, -5, 10**30),
    Progress("render", cast("str", None), math.nan, cast("int", None), cast("int", math.inf)),
)


class FakeEngine:
    name = "fake"

    def __init__(self, kind: str, gate: Path) -> None:
        self.kind, self.gate = kind, gate

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        report(Progress("render", "Generating video...", 0.1))
        if self.kind == "angry" and job.options.emotion == "angry":
            time.sleep(0.5)  # for others to join in
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.kind == "angry":
            time.sleep(1)
        job.output.write_bytes(b"half a file")
        if self.kind == "gated":
            while not self.gate.exists():
                time.sleep(0.02)
                report(Progress("render", "Generating video...", 0.2))
        elif self.kind == "shows":
            self.show(job, report)
        elif self.kind == "waits":
            for step in range(10):
                time.sleep(float(self.gate.name) / 10)
                report(Progress("render", "Generating video...", step / 10, step=step, steps=10))
        else:
            self.misbehave(job, report)
        report(Progress("render", "Generating video...", 0.5, step=1, steps=2))
        return self.make_video(job)

    def show(self, job: RenderJob, report: Report) -> None:
        """Send a preview with each step until the gate opens."""
        step = 0
        while not self.gate.exists():
            time.sleep(0.02)
            step += 1
            picture = encode_preview(np.full((16, 16, 3), step % 256, np.uint8), job.labels)
            report(Progress("denoise", "Generating video...", 0.2, step, 1000, picture))

    def misbehave(self, job: RenderJob, report: Report) -> None:
        tried = job.output.parent / "tried"
        if self.kind == "flaky" and tried.exists():
            return
        if self.kind == "refuses":
            raise NoFaceFound(ErrorCode.NO_FACE, "No face was found", "Send a clear portrait.")
        if self.kind == "raises":
            raise ZeroDivisionError("secret of the server")
        if self.kind == "odd":
            for progress in ODD_PROGRESS:
                report(progress)
            if (seed := job.options.seed or 0) < len(ODD_ERRORS):
                raise ODD_ERRORS[seed]()
        if self.kind == "memory":
            bytearray(1 << 60)
        if self.kind == "hangs":
            time.sleep(3600)
        if self.kind == "flaky":
            tried.touch()
        if self.kind in ("exits", "flaky"):
            report(Progress("late", "Nearly there...", 0.7))
            os._exit(1)
        if self.kind == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "segfaults":
            os.kill(os.getpid(), signal.SIGSEGV)

    def make_video(self, job: RenderJob) -> RenderResult:
        speech = load_speech(job.audio, job.options.duration or 300)
        fps = job.options.fps
        frames = frame_count(speech.seconds, fps)
        with VideoWriter(
            job.output,
            width=128,
            height=128,
            fps=fps,
            frames=frames,
            sound=speech.stereo,
            rate=speech.rate,
            metadata={"engine": self.name, "seed": job.options.seed},
            labels=job.labels,
        ) as writer:
            for number in range(frames):
                writer.write(np.full((128, 128, 3), number % 256, np.uint8))
        width = 256 if self.kind == "lies" else 128
        versions = {"odd": Odd, "half": "\ud800", "n" * 99: "v" * 9999} if self.kind == "odd" else {}
        return RenderResult(width, 128, fps, frames, frames / fps, cast("dict[str, str]", versions))


def load(kind: str, gate: Path) -> Engine:
    if kind == "unloadable":
        sys.exit(7)
    return FakeEngine(kind, gate)


if __name__ == "__main__":
    serve(lambda: load(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "/nonexistent")))
