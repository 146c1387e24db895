"""Several processes, each with a GPU of its own, denoise one video together.

The windows of a step do not need each other, so each process makes its share of them. After a step all need all
latents, 16 to 64 kB a frame: next to nothing beside the work. The engine's own process has rank 0; it starts the others
(`dice_talk.diffusion.peer`), hands them its jobs and makes everything but the latents alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed

from dice_talk.engine import RenderJob
from dice_talk.errors import Cancelled
from dice_talk.worker import encode_job

SILENCE = timedelta(minutes=10)
"""No window takes so long: a process that others wait for is taken for dead."""
READY, COMPILE = b"ready\n", "--compile"
TURN_S = 1.0
"""Who waits for a turn says so as often, and so hears when it is called off."""


class Left(Exception):
    """Another process gave this video up."""


class Group:
    """The processes as one of them sees them; see `denoise.Peers`. All calls are made by all of them, in one order."""

    def __init__(self, meeting_place: Path, rank: int, count: int) -> None:
        """Waits for all. `meeting_place`: a file that does not exist yet."""
        self.rank, self.count = rank, count
        loopback = "lo0" if sys.platform == "darwin" else "lo"  # nobody else is to join, or to listen
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        store = distributed.FileStore(str(meeting_place), count)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=SILENCE)

    def share_start(self, latents: Tensor, first_step: int) -> int:
        """Gives everybody rank 0's `latents` (in place) and first step: no two GPUs need to draw the same noise."""
        step = torch.tensor([first_step])
        distributed.broadcast(step, 0)
        distributed.broadcast(latents, 0)
        return int(step)

    def add_up(self, latents: Tensor) -> None:
        """Replaces everybody's latents by their sum. Raises `Left` when somebody left.

        At most two windows cover a frame, and zeros change nothing: the sum does not depend on its order.
        """
        self.meet()
        distributed.all_reduce(latents)

    def meet(self, *, leaving: bool = False) -> None:
        """Waits for all others. Raises `Left` when one of them is leaving."""
        gone = torch.tensor([float(leaving)])
        distributed.all_reduce(gone)
        if gone > 0 and not leaving:
            raise Left


class Crew:
    """Rank 0's view: the other processes, and how to work with them. One video at a time: it keeps all GPUs busy."""

    def __init__(self, checkpoints: Path, compiled: bool, environments: Sequence[Mapping[str, str]]) -> None:
        """Starts a process for each of `environments`, the variables in which it differs. `join` waits for them."""
        self._folder = tempfile.TemporaryDirectory()
        self._meeting_place = Path(self._folder.name) / "meeting"
        self.count = 1 + len(environments)
        self._lock = threading.Lock()
        self._group: Group | None = None
        module = [sys.executable, "-m", "dice_talk.diffusion.peer"]
        shared = [str(self.count), str(self._meeting_place), str(checkpoints), *([COMPILE] if compiled else [])]
        self._processes = [
            subprocess.Popen(  # noqa: S603 - our own module, and paths from the settings
                [*module, str(rank), *shared],
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for rank, variables in enumerate(environments, 1)
        ]

    @property
    def pids(self) -> list[int]:
        """Of the other processes."""
        return [process.pid for process in self._processes]

    def join(self) -> bool:
        """Whether all others have loaded their weights; when one has not, all are ended."""
        if all(process.stdout and process.stdout.readline() == READY for process in self._processes):
            self._group = Group(self._meeting_place, 0, self.count)
            self._group.meet()  # all are there
            self._folder.cleanup()
            return True
        self.close()
        return False

    @contextmanager
    def on(self, job: RenderJob, latents: Tensor, first_step: int, waiting: Callable[[], None]) -> Iterator[Group]:
        """Around the denoising of a job. Calls `waiting` now and then while another video is denoised.

        `Cancelled` sends the others home too. After any other error they are not there any more: whoever runs this
        process has to start it anew.
        """
        while not self._lock.acquire(timeout=TURN_S):
            waiting()
        try:
            if self._group is None:
                raise RuntimeError("the processes of the other GPUs have ended")
            yield from self._together(self._group, job, latents, first_step)
        except Cancelled:
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._lock.release()

    def _together(self, group: Group, job: RenderJob, latents: Tensor, first_step: int) -> Iterator[Group]:
        for process in self._processes:
            if process.stdin:
                process.stdin.write(json.dumps(encode_job(1, job)).encode() + b"\n")
                process.stdin.flush()
        group.share_start(latents, first_step)
        try:
            yield group
        except Cancelled:
            group.meet(leaving=True)
            raise
        group.meet()

    def close(self) -> None:
        """Ends the others."""
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):  # of what nobody has read
                        pipe.close()
        if self._group is not None:
            self._group = None
            distributed.destroy_process_group()
        self._folder.cleanup()


def gpus_like_the_first() -> list[dict[str, str]]:
    """Variables that show a process one GPU, for every GPU but the first that is of its make: others would differ in
    speed, and perhaps in their numbers. `CUDA_VISIBLE_DEVICES` says as ever which there are.
    """
    if not torch.cuda.is_available():
        return []
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(number) for number in range(count)]
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    shown = visible if len(visible) >= count else [str(number) for number in range(count)]  # CUDA ends at a wrong one
    return [{"CUDA_VISIBLE_DEVICES": shown[n]} for n in range(1, count) if names[n] == names[0]]
