"""How fast the lite engine is: one task, and two at once in processes of their own, loading excluded."""

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier, Semaphore
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from dice_talk.engine import RenderJob
from dice_talk.engines import load_engine
from dice_talk.options import RenderOptions

_PATIENCE_S = 300


@dataclass(frozen=True)
class Speed:
    """Seconds of video made per second by one task and by two at once, and how many times as much the two make: the
    median of the rounds' own ratios.
    """

    one: float
    two: float
    times: float


def measure_speed(portrait: Path, speech: Path, options: RenderOptions, rounds: int) -> Speed:
    """Return medians over `rounds`. In each, two tasks at once follow one task, so that both meet the same load."""
    context = multiprocessing.get_context("spawn")  # a fork after OpenCV may deadlock
    ready = context.Barrier(3)
    turns, done = [context.Semaphore(0), context.Semaphore(0)], context.Semaphore(0)
    with TemporaryDirectory() as folder:
        jobs = [RenderJob(portrait, speech, Path(folder) / f"{i}.mp4", options) for i in range(2)]
        workers = [
            context.Process(target=_render, args=(job, ready, turn, done), daemon=True)
            for job, turn in zip(jobs, turns, strict=True)
        ]
        for worker in workers:
            worker.start()
        try:
            ready.wait(_PATIENCE_S)
            alone, together = [], []
            for _ in range(rounds):
                alone.append(_seconds(turns[:1], done))
                together.append(_seconds(turns, done))
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
        from dice_talk.video import probe

        made = probe(jobs[0].output).video_seconds
    times = median(2 * one / two for one, two in zip(alone, together, strict=True))
    return Speed(made / median(alone), 2 * made / median(together), times)


def _seconds(turns: list[Semaphore], done: Semaphore) -> float:
    """Return how long the processes need whose turn it is."""
    start = time.perf_counter()
    for turn in turns:
        turn.release()
    for _ in turns:
        if not done.acquire(timeout=_PATIENCE_S):
            raise TimeoutError("A render came to no end")
    return time.perf_counter() - start


def _render(job: RenderJob, ready: Barrier, turn: Semaphore, done: Semaphore) -> None:
    engine = load_engine("lite", Path("checkpoints"))
    engine.render(job, lambda _: None)  # once to warm the file cache and the networks
    ready.wait()
    while True:
        turn.acquire()
        engine.render(job, lambda _: None)
        done.release()
