"""Where the time of a render goes, function by function: `python -m benchmarks.where --help`.

Models are loaded and have run once. Only the thread that renders is looked at.
"""

import argparse
import tempfile
from pathlib import Path

from pyinstrument import Profiler

from benchmarks.inputs import PORTRAIT, SPEECH
from dice_talk.engine import RenderJob
from dice_talk.engines import load_engine
from dice_talk.options import RenderOptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("lite", "diffusion"), default="lite")
    parser.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints"), help="for diffusion; tiny ones will do"
    )
    parser.add_argument("--portrait", type=Path, default=PORTRAIT)
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--shown", type=float, default=2, help="least share that is shown, in per cent")
    arguments = parser.parse_args()
    options = RenderOptions(
        emotion="happy",
        seed=0,
        crop=True,
        min_resolution=arguments.resolution,
        inference_steps=arguments.steps,
        duration=arguments.seconds,
    )
    engine = load_engine(arguments.engine, arguments.checkpoints)
    with tempfile.TemporaryDirectory() as folder:
        job = RenderJob(arguments.portrait, arguments.speech, Path(folder) / "out.mp4", options)
        engine.render(job, lambda progress: None)
        with Profiler() as profiler:
            engine.render(job, lambda progress: None)
    shown = {"filter_threshold": arguments.shown / 100}
    profiler.print(processor_options=shown, time="percent_of_total")


if __name__ == "__main__":
    main()
