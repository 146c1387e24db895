"""What the diffusion engine costs: `python -m benchmarks.diffusion --help`.

Times the forms of denoising in one run - plain, as published; the engine's own; with channels-last weights; compiled;
balanced and fast quality - then the other stages, and two videos at once. Prints seconds per second of video, ratios to
plain, the share of the rate of large matrix products, peak memory, and errors of the final latents against float32.

With `--size full`, random weights of the published sizes are made in memory, so that time and memory are those of the
published model while no download is needed.
"""

import argparse
import copy
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inputs import PORTRAIT, SPEECH, recording
from benchmarks.plain import forgetful, plain_attention, plain_denoise
from benchmarks.random_weights import full_models, tiny_models
from dice_talk.diffusion.attention import AdapterAttention
from dice_talk.diffusion.checkpoints import Models
from dice_talk.diffusion.compiled import compile_blocks, lay_out_for_tensor_cores
from dice_talk.diffusion.condition import MODEL_FPS, Task, prepare_task
from dice_talk.diffusion.decode import CHUNK, decode
from dice_talk.diffusion.denoise import BRANCHES, WINDOW, Guidance, Windows, denoise, draw_noise, initial_latents
from dice_talk.diffusion.detectors import choose_detector
from dice_talk.diffusion.devices import best_device, name, precision
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.guide import Guided
from dice_talk.diffusion.interpolate import resample
from dice_talk.diffusion.memory import Portion
from dice_talk.diffusion.preprocess import prepare_picture
from dice_talk.diffusion.reuse import REUSE
from dice_talk.diffusion.schedule import Schedule, karras_schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.emotions import Emotion
from dice_talk.engine import RenderJob
from dice_talk.face import Box, largest
from dice_talk.image import Pixels, load_portrait
from dice_talk.options import Quality, RenderOptions
from dice_talk.video import VideoWriter

GUIDANCE = Guidance(3.0, 6.0)
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
Sampler = Callable[[DiceTalkUNet, Task, Schedule, Tensor], Tensor]


@dataclass(frozen=True)
class Form:
    """One way to denoise. `prepare` changes a UNet with diffusers' own blocks."""

    name: str
    prepare: Callable[[DiceTalkUNet], object]
    sample: Sampler
    compiled: bool = False  # then; minutes, and no gain on a CPU: only when asked for there


def sampled(quality: Quality) -> Sampler:
    def sample(unet: DiceTalkUNet, task: Task, schedule: Schedule, latents: Tensor) -> Tensor:
        reuse = REUSE[quality]
        predict = Guided(unet, task, GUIDANCE, schedule, Portion(BRANCHES), reuse)
        return denoise(predict, latents.cpu(), schedule, Windows(steps=reuse.steps), lambda step, latents: None)

    return sample


@contextmanager
def published_attention() -> Iterator[None]:
    forward = AdapterAttention.forward
    AdapterAttention.forward = plain_attention(functional.scaled_dot_product_attention)
    try:
        yield
    finally:
        AdapterAttention.forward = forward


def as_published(unet: DiceTalkUNet, task: Task, schedule: Schedule, latents: Tensor) -> Tensor:
    with published_attention():
        return plain_denoise(unet, task, GUIDANCE, schedule, latents)


def channels_last(unet: DiceTalkUNet) -> None:
    lay_out_for_tensor_cores(unet.streamline())


FORMS = (
    Form("plain", lambda unet: None, as_published),
    Form("exact", DiceTalkUNet.streamline, sampled(Quality.EXACT)),
    Form("exact, channels last", channels_last, sampled(Quality.EXACT)),
    Form("exact, compiled", channels_last, sampled(Quality.EXACT), compiled=True),
    Form("balanced", DiceTalkUNet.streamline, sampled(Quality.BALANCED)),
    Form("fast", DiceTalkUNet.streamline, sampled(Quality.FAST)),
    Form("balanced, compiled", channels_last, sampled(Quality.BALANCED), compiled=True),
    Form("fast, compiled", channels_last, sampled(Quality.FAST), compiled=True),
)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """By the device's own clock, where it has one."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """The rate that large matrix products reach here, in TFLOP per second."""
    side, rounds = (8192, 20) if device.type == "cuda" else (1024, 5)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    return 2 * side**3 * rounds / seconds_of(lambda: [torch.mm(a, b) for _ in range(rounds)], device) / 1e12


def peak_gib(device: torch.device) -> float:
    """On the GPU since it was last reset; of the process's whole life elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@cache
def portrait_and_face() -> tuple[Pixels, Box]:
    portrait = load_portrait(PORTRAIT)
    return portrait, largest(choose_detector(Path())(portrait))[0]


def task_of(models: Models, resolution: int, samples: Tensor) -> Task:
    picture = prepare_picture(*portrait_and_face(), resolution)
    return prepare_task(models, picture, samples.numpy(), Emotion.HAPPY, 1.0, lambda share: None)


@torch.inference_mode()
def compare(models: Models, resolution: int, arguments: argparse.Namespace) -> Tensor:
    """Times all forms of denoising at one size, prints a line for each and gives the exact latents."""
    device, video_s = models.device, arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        samples = torch.from_numpy(soundfile.read(recording(Path(folder), video_s), dtype="float32")[0])
    portrait_and_face()
    condition_s = seconds_of(lambda: task_of(models, resolution, samples), device)
    schedule, total = karras_schedule(arguments.steps), int(video_s * MODEL_FPS) + WINDOW
    full = full_precision(models)
    rate = matrix_tflops(device, models.dtype)
    print(f"\n{resolution} px, {video_s:g} s of video, {arguments.steps} steps; matrices: {rate:.1f} TFLOP/s")
    print("form                     s/s    ratio  TFLOP/s of video  of matrix rate  peak GiB  error against float32")
    wanted, exact, plain_s = None, None, None
    asked = [form for form in FORMS if form.name in (arguments.only or [form.name])]
    tried = [form for form in asked if arguments.only or device.type != "cpu" or not form.compiled]
    for form in [Form("float32", DiceTalkUNet.streamline, sampled(Quality.EXACT)), *tried]:
        chosen = full if form.name == "float32" else models
        task = task_of(chosen, resolution, samples)
        noise = draw_noise(0, total, (1, 3, resolution, resolution), torch.device("cpu"), torch.float32).to(device)
        start = initial_latents(task.reference, noise, schedule)
        unet = copy.deepcopy(chosen.unet)
        form.prepare(unet)

        def run(steps: Schedule, unet: DiceTalkUNet = unet, form: Form = form, task: Task = task) -> Tensor:
            return form.sample(unet, task, steps, start.clone())  # noqa: B023 - runs in this round only

        with FlopCounterMode(display=False) as flops:
            run(karras_schedule(6))  # a warm-up, too
        if form.compiled:
            compile_blocks(unet)
            run(karras_schedule(2))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        results: list[Tensor] = []
        spent = seconds_of(lambda: results.append(run(schedule)), device) / video_s  # noqa: B023 - likewise
        latents = results[0].float().cpu()[:, :-WINDOW]
        if form.name == "float32":
            wanted = latents
            continue
        plain_s = plain_s or spent
        exact = latents if form.name.startswith("exact") else exact
        work = flops.get_total_flops() / 6 * arguments.steps / video_s / 1e12
        error = float((latents - wanted).norm() / wanted.norm())
        share = work / spent / rate
        print(
            f"{form.name:22} {spent:6.2f} {plain_s / spent:7.2f}x {work:17.2f} {share:15.0%} "
            f"{peak_gib(device):9.2f}  {error:.2e}"
        )
        del unet, task
    print(f"encode and condition: {condition_s / video_s:.3f} s/s")
    return results[0] if exact is None else exact


@torch.inference_mode()
def time_one_pass(models: Models, resolution: int) -> None:
    """One forward pass of the UNet: as published, exact, and of its last layer alone. A first look at a machine."""
    device, unet = models.device, copy.deepcopy(models.unet)
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
    unet.streamline()
    measure("exact", lambda: unet.predict(*given, conditions))
    _, deep = unet.predict_and_keep(*given, conditions)
    measure("last layer", lambda: unet.predict_last(*given, conditions, deep))
    third = slice(2, 3)
    last = latents[third], given[1], given[2][third], conditions.of(third), deep[2 * WINDOW :]
    measure("last layer, one branch", lambda: unet.predict_last(*last))
    print(f"exact against plain: {float((results['exact'] - results['plain']).norm() / results['plain'].norm()):.1e}")


def full_precision(models: Models) -> Models:
    """The same weights in float32."""
    names = ("unet", "image_encoder", "emo_model", "pose_guider", "audio_linear")
    copies = {name: torch.nn.Module.to(copy.deepcopy(getattr(models, name)), torch.float32) for name in names}
    return replace(models, dtype=torch.float32, **copies)


@torch.inference_mode()
def time_the_tail(models: Models, latents: Tensor, arguments: argparse.Namespace) -> None:
    """Decoding, interpolation and H.264, one after the other, for as much video as the latents hold."""
    device, count = models.device, latents.shape[1]
    video_s, fps = count / MODEL_FPS, arguments.fps
    frames: list[Tensor] = []
    decode_s = seconds_of(lambda: frames.extend(decode(models.vae, latents, count, Portion(CHUNK))), device)
    wanted, smooth = round(video_s * fps), []
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
    print("; ".join(f"{stage}: {spent / video_s:.3f} s/s" for stage, spent in stages.items()))


def time_renders(models: Models, arguments: argparse.Namespace) -> None:
    """Whole renders by the engine, one and two at once."""
    models = replace(models, unet=copy.deepcopy(models.unet).streamline())
    engine = DiffusionEngine(models, choose_detector(Path()), f"{arguments.size} random weights")
    size = {"inference_steps": arguments.steps, "min_resolution": arguments.resolutions[0], "fps": arguments.fps}
    options = RenderOptions(emotion="happy", seed=0, duration=arguments.seconds).model_copy(update=size)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        speech = recording(Path(folder), arguments.seconds)
        jobs = [RenderJob(PORTRAIT, speech, Path(folder) / f"{number}.mp4", options) for number in range(2)]

        def render(count: int) -> float:
            start = time.perf_counter()
            for done in [pool.submit(engine.render, job, lambda progress: None) for job in jobs[:count]]:
                done.result()
            return count * arguments.seconds / (time.perf_counter() - start)

        render(1)
        one, two = render(1), render(2)
    print(f"\nwhole renders at {arguments.resolutions[0]} px: {1 / one:.2f} s/s; two at once {two / one:.2f} times one")


def measure(arguments: argparse.Namespace) -> None:
    device = best_device()
    dtype = DTYPES.get(arguments.dtype) or precision(device)
    models = (full_models if arguments.size == "full" else tiny_models)(device, dtype)
    print(f"{platform.machine()} {name(device)}, {dtype}, {arguments.size} random weights")
    for resolution in arguments.resolutions:
        if arguments.one_pass:
            time_one_pass(models, resolution)
            continue
        latents = compare(models, resolution, arguments)
        time_the_tail(models, latents, arguments)
    if not arguments.one_pass:
        time_renders(models, arguments)
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[256])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--dtype", choices=tuple(DTYPES))
    parser.add_argument("--only", nargs="+", metavar="FORM", help="; ".join(form.name for form in FORMS))
    parser.add_argument("--one-pass", action="store_true", help="only time one forward pass of the UNet")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
