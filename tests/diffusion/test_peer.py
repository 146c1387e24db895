"""A helper's own process, run here without its weights: it says that it is ready, and takes part in what it is sent."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import distributed

from dice_talk.diffusion import peer
from dice_talk.diffusion.peers import READY, Aborted, ProcessGroup
from dice_talk.engine import Precision, RenderJob, Tuning
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable
from dice_talk.options import RenderOptions
from dice_talk.worker import encode_job, flags_of

JOBS = [
    RenderJob(Path("a.png"), Path("a.wav"), Path(f"{seed}.mp4"), RenderOptions(emotion="sad", seed=seed))
    for seed in range(3)
]


class Helper:
    """Stands in for the engine. Gives up the second job, and fails at the last one if it is told to."""

    def __init__(self) -> None:
        self.loaded: list[tuple[Path, Tuning]] = []
        self.jobs: list[RenderJob] = []
        self.fails = False

    def load(self, checkpoints: Path, tuning: Tuning) -> "Helper":
        sys.stdout.write("a library's greeting\n")
        sys.stdout.flush()
        self.loaded.append((checkpoints, tuning))
        return self

    def assist(self, job: RenderJob, group: ProcessGroup) -> None:
        assert (group.rank, group.count) == (0, 1)
        self.jobs.append(job)
        if job == JOBS[1]:
            raise Aborted
        if job == JOBS[2] and self.fails:
            raise ValueError("shapes differ")


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Helper]:
    """A group of one, which needs no others to meet."""
    helper = Helper()
    lines = "".join(json.dumps(encode_job(1, job)) + "\n" for job in JOBS)
    monkeypatch.setattr(peer, "load_on_one_device", helper.load)
    monkeypatch.setattr(peer, "exit_with_parent", lambda: None)  # the tests' own process goes on
    monkeypatch.setattr(sys, "argv", ["peer", "0", "1", str(tmp_path / "rendezvous"), str(tmp_path)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    yield helper
    distributed.destroy_process_group()


def run(folder: Path) -> None:
    """Run the helper, with files in `folder` for what it prints."""
    with (
        (folder / "out").open("w") as out,
        (folder / "err").open("w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        peer.main()


def test_jobs_are_taken_one_by_one(helper: Helper, tmp_path: Path) -> None:
    """Also after one that was given up."""
    run(tmp_path)
    assert (tmp_path / "out").read_bytes() == READY, "and nothing that libraries print"
    assert (tmp_path / "err").read_text().startswith("a library's greeting")
    assert helper.jobs == JOBS
    assert helper.loaded == [(tmp_path, Tuning())]


def test_errors_end_the_process(helper: Helper, tmp_path: Path) -> None:
    """The others notice, and the engine is started again."""
    helper.fails = True
    with pytest.raises(ValueError, match="shapes differ"):
        run(tmp_path)


def test_it_is_tuned_as_it_is_told(helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(compiled=True, precision=Precision.BF16)
    monkeypatch.setattr(sys, "argv", [*sys.argv, *flags_of(tuning)])
    run(tmp_path)
    assert [tuning for _, tuning in helper.loaded] == [tuning]


def test_weights_that_do_not_fit_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the words of the engine, which go to its log."""

    def too_large(checkpoints: Path, tuning: Tuning) -> Helper:
        raise EngineUnavailable(ErrorCode.WEIGHTS_TOO_LARGE, "The weights do not fit", "End what else uses the device.")

    monkeypatch.setattr(peer, "load_on_one_device", too_large)
    monkeypatch.setattr(peer, "exit_with_parent", lambda: None)
    monkeypatch.setattr(sys, "argv", ["peer", "0", "1", str(tmp_path / "rendezvous"), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"The weights do not fit\. End what else uses the device\."):
        run(tmp_path)
