"""Several processes, each with its own GPU, denoise one video together.

The windows of one step are independent, so each process computes its share of them. After the step an all-reduce gives
every process all latents; at 16 to 64 kB a frame this is negligible next to the work. The engine's own process has rank
0. It starts the other processes (`dice_talk.diffusion.peer`), sends them its jobs, and does everything except the
latents alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed

from dice_talk.diffusion.memory import is_out_of_memory
from dice_talk.diffusion.repeat import overflow
from dice_talk.engine import RenderJob, Tuning
from dice_talk.errors import Cancelled, DiceTalkError
from dice_talk.worker import encode_job, flags_of

TIMEOUT = timedelta(minutes=10)
"""No window takes this long: a process that keeps the others waiting longer is considered dead."""
READY = b"ready\n"
LOCK_WAIT_S = 1.0
"""How often a render that waits for the GPUs calls its callback, and so learns that it has been cancelled."""


class Aborted(Exception):
    """Another process has given up this video. `memory`: because its memory ran out."""

    def __init__(self, *, memory: bool = False) -> None:
        super().__init__("out of memory" if memory else "given up")
        self.memory = memory


class ProcessGroup:
    """One process's view of the group; see `denoise.Peers`. All processes make the same calls in the same order."""

    def __init__(self, rendezvous: Path, rank: int, count: int) -> None:
        """Wait until all `count` processes have joined. `rendezvous`: a file that does not exist yet."""
        self.rank, self.count = rank, count
        loopback = "lo0" if sys.platform == "darwin" else "lo"  # other machines can neither join nor listen
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        store = distributed.FileStore(str(rendezvous), count)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=TIMEOUT)

    def broadcast_start(self, latents: Tensor, first_step: int) -> int:
        """Copy rank 0's `latents` (in place) and first step to all processes: two GPUs need not draw the same noise.

        Returns the first step.
        """
        step = torch.tensor([first_step])
        distributed.broadcast(step, 0)
        distributed.broadcast(latents, 0)
        return int(step)

    def all_reduce(self, latents: Tensor) -> None:
        """Replace every process's `latents` by their sum. Raises `Aborted` when a process has given up.

        At most two windows cover a frame, and adding zeros changes nothing, so the sum does not depend on its order.
        """
        self.barrier()
        distributed.all_reduce(latents)

    def barrier(self, *, aborting: bool = False, memory: bool = False) -> None:
        """Wait for all other processes. Raises `Aborted` when one of them is `aborting`. `memory`: it has run out."""
        aborted = torch.tensor([float(aborting), float(memory)])
        distributed.all_reduce(aborted)
        if aborted[0] > 0 and not aborting:
            raise Aborted(memory=bool(aborted[1] > 0))

    @contextmanager
    def giving_up_together(self) -> Iterator[None]:
        """If the block fails for a reason that belongs to this video, tell the other processes. Raises `Aborted`.

        This process then waits for the next video. After any other error it must end.
        """
        try:
            yield
        except (DiceTalkError, RuntimeError, MemoryError) as error:
            memory = is_out_of_memory(error)
            if not memory and not isinstance(error, DiceTalkError):
                raise
            self.barrier(aborting=True, memory=memory)
            raise Aborted(memory=memory) from error


class PeerProcesses:
    """Rank 0's view of the other processes. They denoise one video at a time, because it keeps all GPUs busy."""

    def __init__(self, checkpoints: Path, tuning: Tuning, environments: Sequence[Mapping[str, str]]) -> None:
        """Start one process for each of `environments`, which are the environment variables it differs by.

        `connect` waits for them.
        """
        self._folder = tempfile.TemporaryDirectory()
        self._rendezvous = Path(self._folder.name) / "rendezvous"
        self.count = 1 + len(environments)
        self._lock = threading.Lock()
        self._group: ProcessGroup | None = None
        module = [sys.executable, "-m", "dice_talk.diffusion.peer"]
        shared = [str(self.count), str(self._rendezvous), str(checkpoints), *flags_of(replace(tuning, all_gpus=False))]
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
        """Process ids of the other processes."""
        return [process.pid for process in self._processes]

    def connect(self) -> bool:
        """Wait until all processes have loaded their weights. If one has failed, end them all and return False."""
        if all(process.stdout and process.stdout.readline() == READY for process in self._processes):
            self._group = ProcessGroup(self._rendezvous, 0, self.count)
            self._group.barrier()  # all have joined
            self._folder.cleanup()
            return True
        self.close()
        return False

    @contextmanager
    def denoising(
        self, job: RenderJob, latents: Tensor, first_step: int, on_wait: Callable[[], None]
    ) -> Iterator[ProcessGroup]:
        """Have the other processes take part in denoising `job` within the block.

        Calls `on_wait` repeatedly while another video is being denoised. When the block raises `Cancelled`, or an error
        that belongs to this video, the other processes drop the job too and stay available. If one of them has given up
        the job, this raises what the engine would have raised. After any other error they have ended, and this process
        must be restarted.
        """
        while not self._lock.acquire(timeout=LOCK_WAIT_S):
            on_wait()
        try:
            if self._group is None:
                raise RuntimeError("the processes of the other GPUs have ended")
            yield from self._with_group(self._group, job, latents, first_step)
        except (Cancelled, DiceTalkError, MemoryError):
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._lock.release()

    def _with_group(
        self, group: ProcessGroup, job: RenderJob, latents: Tensor, first_step: int
    ) -> Iterator[ProcessGroup]:
        for process in self._processes:
            if process.stdin:
                process.stdin.write(json.dumps(encode_job(1, job)).encode() + b"\n")
                process.stdin.flush()
        group.broadcast_start(latents, first_step)
        try:
            with group.giving_up_together():
                yield group
                group.barrier()
        except Cancelled:
            group.barrier(aborting=True)
            raise
        except Aborted as error:
            if isinstance(error.__cause__, DiceTalkError):
                raise error.__cause__ from None
            if error.memory:
                raise MemoryError from error
            raise overflow() from error

    def close(self) -> None:
        """End the other processes."""
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):  # the process did not read everything
                        pipe.close()
        if self._group is not None:
            self._group = None
            distributed.destroy_process_group()
        self._folder.cleanup()


def gpus_of_the_same_model() -> list[dict[str, str]]:
    """Environment variables that limit a process to one GPU, for each GPU of the same model as the first one.

    Other models differ in speed, and their results may differ. `CUDA_VISIBLE_DEVICES` is respected.
    """
    if not torch.cuda.is_available():
        return []
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(number) for number in range(count)]
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    # CUDA ignores the list from the first invalid entry on
    shown = visible if len(visible) >= count else [str(number) for number in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": shown[n]} for n in range(1, count) if names[n] == names[0]]
