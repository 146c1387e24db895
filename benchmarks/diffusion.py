"""What the diffusion engine costs: `python -m benchmarks.diffusion --help`.

Times the forms of denoising in one run - plain, as published; the engine's own; with other attention kernels, channels-
last weights, CUDA graphs; compiled; balanced and fast quality - then the other stages, and two videos at once, with and
without CUDA streams of their own. Prints seconds per second of video, ratios to plain, the share of the rate of large
matrix products, peak memory, and errors of the final latents against float32.

With `--size full`, random weights of the published sizes are made in memory, so that time and memory are those of the
published model while no download is needed.
"""

import argparse
import copy
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.forms import FLOAT32, FORMS, Form, published_attention
from benchmarks.inputs import PORTRAIT, SPEECH, recording
from benchmarks.meters import begin_peak, matrix_tflops, peak_gib, seconds_of
from benchmarks.plain import forgetful
from benchmarks.random_weights import full_models, tiny_models
from dice_talk.diffusion.checkpoints import Models
from dice_talk.diffusion.condition import MODEL_FPS, Conditioning, prepare_conditioning
from dice_talk.diffusion.decode import CHUNK, decode
from dice_talk.diffusion.denoise import BRANCHES, VAE_STRIDE, WINDOW, draw_noise, initial_latents
from dice_talk.diffusion.detectors import choose_detector
from dice_talk.diffusion.devices import best_device, name, precision
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.interpolate import resample
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.preprocess import prepare_picture
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.emotions import Emotion
from dice_talk.engine import RenderJob
from dice_talk.face import Box, largest
from dice_talk.image import Pixels, load_portrait
from dice_talk.options import RenderOptions
from dice_talk.video import VideoWriter

Context = AbstractContextManager[object]
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
COUNTED_STEPS = 6
"""A multiple of the steps that any quality takes together."""
WARM_UP_STEPS = 2
"""Whole and reusing ones."""


@cache
def portrait_and_face() -> tuple[Pixels, Box]:
    portrait = load_portrait(PORTRAIT)
    return portrait, largest(choose_detector(Path())(portrait))[0]


def task_of(models: Models, resolution: int, samples: Tensor) -> Conditioning:
    picture = prepare_picture(*portrait_and_face(), resolution)
    return prepare_conditioning(models, picture, samples.numpy(), Emotion.HAPPY, 1.0, lambda share: None)


class Bench:
    """One size of video, and what each form of denoising takes for it. `models`: with the UNet on the CPU."""

    def __init__(self, models: Models, resolution: int, seconds: float, steps: int) -> None:
        self.models, self.resolution, self.seconds = models, resolution, seconds
        self.schedule = karras_schedule(steps)
        with tempfile.TemporaryDirectory() as folder:
            self._samples = torch.from_numpy(soundfile.read(recording(Path(folder), seconds), dtype="float32")[0])
        self._work: dict[tuple[object, ...], float] = {}

    def task(self, models: Models | None = None) -> Conditioning:
        return task_of(models or self.models, self.resolution, self._samples)

    def start(self, task: Conditioning) -> Tensor:
        """Return the latents before the first step, which are the same for every form."""
        total, picture = int(self.seconds * MODEL_FPS) + WINDOW, (1, 3, self.resolution, self.resolution)
        noise = draw_noise(0, total, picture, torch.device("cpu"), torch.float32)
        return initial_latents(task.reference, noise.to(task.reference.device), self.schedule)

    def run(self, form: Form) -> tuple[float, float, Tensor]:
        """Return the seconds for the whole video, the peak in GiB, and the latents (1, T, 4, h, w) without padding."""
        begin_peak(self.models.device)
        task, unet = self.task(), form.prepare(own_unet(self.models, self.models.dtype))
        form.sample(unet, task, karras_schedule(WARM_UP_STEPS), self.start(task))  # compiles and records
        results: list[Tensor] = []
        start = self.start(task)
        spent = seconds_of(lambda: results.append(form.sample(unet, task, self.schedule, start)), self.models.device)
        return spent, peak_gib(self.models.device), results[0].float().cpu()[:, :-WINDOW]

    def in_float32(self) -> Tensor:
        """Return the latents in float32, which errors are measured against."""
        begin_peak(self.models.device)
        task, unet = self.task(in_float32(self.models)), FLOAT32.prepare(own_unet(self.models, torch.float32))
        return FLOAT32.sample(unet, task, self.schedule, self.start(task)).cpu()[:, :-WINDOW]

    def work(self, form: Form) -> float:
        """Return the TFLOP for the whole video, counted on the uncompiled variant of the form."""
        kind = form.plain, form.quality
        if kind not in self._work:
            like = Form("", form.quality, plain=form.plain)
            task, unet = self.task(), like.prepare(own_unet(self.models, self.models.dtype))
            with FlopCounterMode(display=False) as flops:
                like.sample(unet, task, karras_schedule(COUNTED_STEPS), self.start(task))
            self._work[kind] = flops.get_total_flops() / COUNTED_STEPS * len(self.schedule) / 1e12
        return self._work[kind]


def own_unet(models: Models, dtype: torch.dtype) -> DiceTalkUNet:
    """Return a copy of the UNet, on the device."""
    return nn.Module.to(copy.deepcopy(models.unet), models.device, dtype)


def in_float32(models: Models) -> Models:
    """Return models with the same weights in float32, without a UNet."""
    names = ("image_encoder", "pose_guider")
    copies = {name: nn.Module.to(copy.deepcopy(getattr(models, name)), torch.float32) for name in names}
    return replace(models, dtype=torch.float32, **copies)


@torch.inference_mode()
def compare(models: Models, resolution: int, arguments: argparse.Namespace) -> None:
    """Time all forms of denoising at one size, and print a line for each."""
    device, video_s = models.device, arguments.seconds
    bench = Bench(models, resolution, video_s, arguments.steps)
    condition_s = seconds_of(bench.task, device)
    rate = matrix_tflops(device, models.dtype)
    print(f"\n{resolution} px, {video_s:g} s of video, {arguments.steps} steps; matrices: {rate:.1f} TFLOP/s")
    print(f"encode and condition: {condition_s / video_s:.3f} s/s")
    print("form                     s/s   to plain  TFLOP/s of video  of matrix rate  peak GiB  error against float32")
    wanted = bench.in_float32() if arguments.errors else None
    plain_s = None
    for form in FORMS:
        if not is_chosen(form, arguments.only, device):
            continue
        try:
            spent, peak, latents = bench.run(form)
        except RuntimeError as failure:  # of a kernel, the compiler or memory: the others can still be had
            print(f"{form.name:22} failed: {str(failure).splitlines()[0]}", flush=True)
            continue
        plain_s = spent if form.plain else plain_s
        ratio = f"{plain_s / spent:.2f}x" if plain_s else "-"
        error = "-" if wanted is None else f"{float((latents - wanted).norm() / wanted.norm()):.2e}"
        work = bench.work(form)
        print(
            f"{form.name:22} {spent / video_s:6.2f} {ratio:>10} {work / video_s:17.2f} {work / spent / rate:15.0%} "
            f"{peak:9.2f}  {error}",
            flush=True,
        )


def is_chosen(form: Form, names: list[str] | None, device: torch.device) -> bool:
    if names:
        return form.name in names
    return not form.asked and (device.type == "cuda" or not form.needs_cuda)


@torch.inference_mode()
def time_one_pass(models: Models, resolution: int) -> None:
    """Time one forward pass of the UNet: as published, exact, and of its last layer alone."""
    device, unet = models.device, own_unet(models, models.dtype)
    task = task_of(models, resolution, torch.zeros(16000))
    conditions = task.at(torch.arange(WINDOW))
    side = task.reference.shape[2:]
    latents = torch.randn(1, WINDOW, 8, *side, device=device, dtype=models.dtype).repeat(BRANCHES, 1, 1, 1, 1)
    given = latents, torch.tensor(0.5, device=device), task.time_ids
    results: dict[str, Tensor] = {}

    def measure(label: str, work: Callable[[], Tensor]) -> None:
        if device.type != "cpu":
            work()
        spent = seconds_of(lambda: results.update({label: work()}), device)
        print(f"{label:24} {spent:8.3f} s")

    with published_attention():
        measure("plain", lambda: unet.predict(*given, forgetful(conditions)))
    unet.optimise_for_inference()
    measure("exact", lambda: unet.predict(*given, conditions))
    _, deep = unet.predict_with_features(*given, conditions)
    measure("last layer", lambda: unet.predict_last_layer(*given, conditions, deep))
    third = slice(2, 3)
    last = latents[third], given[1], given[2][third], conditions.of(third), deep[2 * WINDOW :]
    measure("last layer, one branch", lambda: unet.predict_last_layer(*last))
    print(f"exact against plain: {float((results['exact'] - results['plain']).norm() / results['plain'].norm()):.1e}")


@torch.inference_mode()
def time_the_tail(models: Models, resolution: int, arguments: argparse.Namespace) -> None:
    """Time decoding, interpolation and H.264, one after the other. The content of the latents makes no difference."""
    device, fps, count = models.device, arguments.fps, int(arguments.seconds * MODEL_FPS)
    video_s, side = count / MODEL_FPS, resolution // VAE_STRIDE
    latents = torch.randn(1, count, 4, side, side)
    frames: list[Tensor] = []
    decode_s = seconds_of(lambda: frames.extend(decode(models.vae, latents, count, BatchSize(CHUNK))), device)
    wanted = round(video_s * fps)
    smooth: list[Tensor] = []
    interpolate_s = seconds_of(lambda: smooth.extend(resample(models.ifnet, frames, fps, wanted)), device)
    pictures = [(frame * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy() for frame in smooth]
    height, width, _ = pictures[0].shape
    sound, rate = soundfile.read(SPEECH, dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with VideoWriter(
            Path(folder) / "out.mp4",
            width=width,
            height=height,
            fps=fps,
            frames=wanted,
            sound=sound,
            rate=rate,
            metadata={},
        ) as video:
            for picture in pictures:
                video.write(picture)
        encode_s = time.perf_counter() - start
    stages = {"decode": decode_s, "interpolate": interpolate_s, "H.264 (one core)": encode_s}
    print(f"\n{resolution} px; " + "; ".join(f"{stage}: {spent / video_s:.3f} s/s" for stage, spent in stages.items()))


def time_renders(models: Models, resolution: int, arguments: argparse.Namespace) -> None:
    """Time whole renders by the engine, one and two at once."""
    device, models = models.device, replace(models, unet=own_unet(models, models.dtype).optimise_for_inference())
    engine = DiffusionEngine(models, choose_detector(Path()), f"{arguments.size} random weights")
    size = {"inference_steps": arguments.steps, "min_resolution": resolution, "fps": arguments.fps}
    options = RenderOptions(emotion="happy", seed=0, duration=arguments.seconds).model_copy(update=size)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        speech = recording(Path(folder), arguments.seconds)
        jobs = [RenderJob(PORTRAIT, speech, Path(folder) / f"{number}.mp4", options) for number in range(2)]

        def render(job: RenderJob, stream: Context) -> None:
            with stream:
                engine.render(job, lambda progress: None)

        def rate(*streams: Context) -> float:
            start = time.perf_counter()
            for done in [pool.submit(render, job, stream) for job, stream in zip(jobs, streams, strict=False)]:
                done.result()
            return len(streams) * arguments.seconds / (time.perf_counter() - start)

        same = nullcontext()
        rate(same)
        begin_peak(device)
        one = rate(same)
        print(f"\nwhole renders at {options.min_resolution} px: {1 / one:.2f} s/s, peak {peak_gib(device):.2f} GiB")
        print(f"two at once: {rate(same, same) / one:.2f} times one")
        if device.type == "cuda":
            own = [torch.cuda.stream(torch.cuda.Stream()) for _ in jobs]
            rate(*own)
            print(f"two at once, each with a CUDA stream of its own: {rate(*own) / one:.2f} times one")


def measure(arguments: argparse.Namespace) -> None:
    device = best_device()
    dtype = DTYPES.get(arguments.dtype) or precision(device)
    torch.backends.cudnn.allow_tf32 = False  # float32 is what errors are measured against
    models = (full_models if arguments.size == "full" else tiny_models)(device, dtype)
    models = replace(models, unet=models.unet.cpu())  # each form has a copy of its own, one at a time
    print(f"{platform.machine()} {name(device)}, {dtype}, {arguments.size} random weights")
    portrait_and_face()
    for resolution in arguments.resolutions:
        if arguments.one_pass:
            time_one_pass(models, resolution)
            continue
        time_the_tail(models, resolution, arguments)
        time_renders(models, resolution, arguments)
        compare(models, resolution, arguments)
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [form.name for form in FORMS]
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[256])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--dtype", choices=tuple(DTYPES))
    parser.add_argument("--only", nargs="+", metavar="FORM", choices=names, help="; ".join(names))
    parser.add_argument("--errors", action=argparse.BooleanOptionalAction, default=True, help="compare with float32")
    parser.add_argument("--one-pass", action="store_true", help="only time one forward pass of the UNet")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
