"""How much the diffusion engine's memory grows with a video's length: `python -m benchmarks.diffusion_memory --help`.

Whole renders of 30 s and of 300 s, each in a process of its own, and the peak of its memory.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.inputs import PORTRAIT, recording
from benchmarks.random_weights import full_models, tiny_models
from dice_talk.diffusion.detectors import choose_detector
from dice_talk.diffusion.devices import best_device, precision
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.engine import RenderJob
from dice_talk.options import RenderOptions

GROWTH_ALLOWED = 1.10


def render(arguments: argparse.Namespace) -> None:
    """Render one video, and print the memory that this took."""
    device = best_device()
    models = (full_models if arguments.size == "full" else tiny_models)(device, precision(device))
    models.unet.optimise_for_inference()
    engine = DiffusionEngine(models, choose_detector(Path()), f"{arguments.size} random weights")
    size = {"inference_steps": arguments.steps, "min_resolution": arguments.resolution}
    options = RenderOptions(emotion="happy", seed=0, fps=arguments.fps).model_copy(update=size)
    with tempfile.TemporaryDirectory() as folder:
        job = RenderJob(PORTRAIT, recording(Path(folder), arguments.once), Path(folder) / "out.mp4", options)
        engine.render(job, lambda progress: None)
    if device.type == "cuda":
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def compare(arguments: argparse.Namespace) -> int:
    peaks = []
    same = [f"--{option}={getattr(arguments, option)}" for option in ("size", "resolution", "steps", "fps")]
    for seconds in (30, 300):
        command = [sys.executable, "-m", "benchmarks.diffusion_memory", f"--once={seconds}", *same]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{seconds} s: {said}", end="", flush=True)
        peaks.append([float(line.split()[-2]) for line in said.splitlines() if line.startswith("peak")])
    growth = max(long / short for short, long in zip(*peaks, strict=True))
    print(f"300 s take {growth:.2f} times the memory of 30 s")
    return int(growth > GROWTH_ALLOWED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--once", type=float, metavar="SECONDS", help="only one render, of so many seconds")
    arguments = parser.parse_args()
    if arguments.once is None:
        return compare(arguments)
    render(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
