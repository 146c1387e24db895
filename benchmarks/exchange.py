"""What several GPUs for one video would gain: `python -m benchmarks.exchange --window-seconds S`.

Measures how long processes of this machine take to exchange all latents of a video after a step, and computes the
speed-up from that and from the time of one window, which `python -m benchmarks.diffusion` measures on a GPU: its
seconds per second of video, times 2 s, divided by the steps.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import torch

from dice_talk.diffusion.condition import MODEL_FPS
from dice_talk.diffusion.denoise import VAE_STRIDE, WINDOW, Windows
from dice_talk.diffusion.peers import ProcessGroup

ROUNDS = 5


def exchange(
    rank: int, count: int, place: str, shapes: list[tuple[int, ...]], times: "multiprocessing.Queue[float]"
) -> None:
    group = ProcessGroup(Path(place), rank, count)
    for shape in shapes:
        latents = torch.ones(shape)
        group.all_reduce(latents)
        start = time.perf_counter()
        for _ in range(ROUNDS):
            group.all_reduce(latents)
        if rank == 0:
            times.put((time.perf_counter() - start) / ROUNDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--seconds", type=float, nargs="+", default=[4, 30, 300])
    parser.add_argument("--window-seconds", type=float, default=0.2, help="a window's forward pass on one GPU")
    arguments = parser.parse_args()
    side, count = arguments.resolution // VAE_STRIDE, arguments.processes
    totals = [int(seconds * MODEL_FPS) + WINDOW for seconds in arguments.seconds]
    context = multiprocessing.get_context("spawn")
    times = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        shapes = [(1, total, 4, side, side) for total in totals]
        place = str(Path(folder) / "meeting")
        started = [context.Process(target=exchange, args=(rank, count, place, shapes, times)) for rank in range(count)]
        for process in started:
            process.start()
        for seconds, total in zip(arguments.seconds, totals, strict=True):
            spent, windows = times.get(), Windows().count(total)
            alone, together = (
                windows * arguments.window_seconds,
                -(-windows // count) * arguments.window_seconds + spent,
            )
            print(
                f"{seconds:g} s, {arguments.resolution} px: {windows} windows, exchange {spent * 1000:.1f} ms a step; "
                f"{count} GPUs with windows of {arguments.window_seconds:g} s: {alone / together:.2f} times one"
            )
        for process in started:
            process.join()


if __name__ == "__main__":
    main()
