"""How fast the lite engine is: one task, and two at once in processes of their own, loading excluded."""

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

from dice_talk.engine import RenderJob, load_engine
from dice_talk.options import RenderOptions


def real_time_factor(portrait: Path, speech: Path, options: RenderOptions, tasks: int) -> float:
    """Seconds of video made per second by `tasks` renders at once."""
    context = multiprocessing.get_context("spawn")  # a fork after OpenCV and mediapipe deadlocks
    barrier = context.Barrier(tasks + 1)
    with TemporaryDirectory() as folder:
        workers = [
            context.Process(target=_render, args=(barrier, portrait, speech, Path(folder) / f"{i}.mp4", options))
            for i in range(tasks)
        ]
        for worker in workers:
            worker.start()
        barrier.wait()
        start = time.perf_counter()
        barrier.wait()
        elapsed = time.perf_counter() - start
        for worker in workers:
            worker.join()
        from dice_talk.video import probe

        made = sum(probe(file).video_seconds for file in Path(folder).iterdir())
    return made / elapsed


def _render(barrier: Barrier, portrait: Path, speech: Path, output: Path, options: RenderOptions) -> None:
    engine = load_engine("lite", Path("checkpoints"))
    job = RenderJob(portrait, speech, output, options)
    engine.render(job, lambda _: None)  # once to warm the file cache and the networks
    barrier.wait()
    engine.render(job, lambda _: None)
    barrier.wait()
