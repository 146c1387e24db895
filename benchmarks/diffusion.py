"""What the diffusion engine costs: `python benchmarks/diffusion.py --help`.

With `--size full`, random weights of the published sizes are made in memory, so that time and memory are those of the
published model while no download is needed. `--memory` shows how much memory grows with the video's length.
"""

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import soundfile
import torch

from dice_talk.diffusion import tiny
from dice_talk.diffusion.checkpoints import Models, load_models
from dice_talk.diffusion.detectors import choose_detector
from dice_talk.diffusion.devices import best_device, precision
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
from dice_talk.diffusion.unet import build_unet
from dice_talk.engine import Progress, RenderJob
from dice_talk.options import RenderOptions

PORTRAIT = Path(__file__).parents[1] / "examples" / "portrait.jpg"
SPEECH = Path(__file__).parents[1] / "examples" / "speech.wav"
MEMORY_GROWTH_ALLOWED = 1.10
UNET_TFLOP = {512: 95.43, 256: 22.15}
"""Of one forward pass (3 branches, 25 frames), as counted on the published network less what is saved exactly."""
FULL_UNET = {
    **tiny.UNET,
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "num_attention_heads": [5, 10, 20, 20],
}
FULL_VAE = {**tiny.VAE, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
CLIP = {**tiny.IMAGE_ENCODER, "projection_dim": 1024}
"""Runs once a video: only the size of its result matters."""


def tiny_models(device: torch.device, dtype: torch.dtype) -> Models:
    with tempfile.TemporaryDirectory() as folder:
        tiny.make_tiny_checkpoints(Path(folder))
        return load_models(Path(folder), device, dtype)


def full_models(device: torch.device, dtype: torch.dtype) -> Models:
    """Random weights; what decides time and memory has the published size, Whisper and CLIP stay tiny."""
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    small = tiny_models(device, dtype)
    heard = small.audio_linear.proj1.in_features
    with device:
        torch.set_default_dtype(dtype)
        unet = build_unet(FULL_UNET)
        vae = AutoencoderKLTemporalDecoder.from_config(FULL_VAE)
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP))
        emotion, guider, audio = EmotionModel(), PoseGuider(), TokenProjector(heard)
        torch.set_default_dtype(torch.float32)
    vae.encoder.float()
    vae.quant_conv.float()
    made = {"unet": unet, "vae": vae, "image_encoder": clip, "emo_model": emotion, "pose_guider": guider}
    networks = {**made, "audio_linear": audio}
    return replace(small, **{name: net.to(device).eval().requires_grad_(False) for name, net in networks.items()})


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """The rate that large matrix products reach here, in TFLOP per second."""
    side, rounds = (8192, 20) if device.type == "cuda" else (1024, 5)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    wait(device)
    start = time.perf_counter()
    for _ in range(rounds):
        torch.mm(a, b)
    wait(device)
    return 2 * side**3 * rounds / (time.perf_counter() - start) / 1e12


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def recording(folder: Path, seconds: float) -> Path:
    """The example's speech over and over, for so many seconds; written piece by piece to take no memory."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    left = int(seconds * rate)
    with soundfile.SoundFile(folder / "speech.wav", "w", rate, 1) as file:
        while left:
            file.write(samples[:left])
            left -= len(samples[:left])
    return folder / "speech.wav"


def measure(arguments: argparse.Namespace) -> None:
    device = best_device()
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}.get(arguments.dtype)
    dtype = dtype or precision(device)
    models = (full_models if arguments.size == "full" else tiny_models)(device, dtype)
    engine = DiffusionEngine(models, choose_detector(Path()), f"{arguments.size} random weights")
    size = {"inference_steps": arguments.steps, "min_resolution": arguments.resolution}
    options = RenderOptions(emotion="happy", seed=0, fps=arguments.fps).model_copy(update=size)
    denoised: list[float] = []  # when denoising began, and when each of its windows was done

    def note(progress: Progress) -> None:
        if progress.stage == "denoise":
            denoised.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        job = RenderJob(PORTRAIT, recording(Path(folder), arguments.seconds), Path(folder) / "out.mp4", options)
        if device.type != "cpu":  # the first launches choose and load kernels
            brief = {"duration": 0.1, "inference_steps": 2}
            engine.render(replace(job, options=options.model_copy(update=brief)), lambda progress: None)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        result = engine.render(job, note)
        spent = time.perf_counter() - start
    denoising = denoised[-1] - denoised[0]
    print(f"{platform.machine()} {torch.cuda.get_device_name() if device.type == 'cuda' else device}, {dtype}")
    print(
        f"{result.width} x {result.height}, {result.seconds:.1f} s, {arguments.steps} steps, {arguments.size} weights"
    )
    print(f"seconds per second of video: {spent / result.seconds:.2f} (denoising {denoising / result.seconds:.2f})")
    if device.type == "cuda":
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    if arguments.size == "full" and arguments.resolution in UNET_TFLOP:
        frames = int(arguments.seconds * 12.5) + 25
        passes = -(-frames // 25) * arguments.steps
        rate = UNET_TFLOP[arguments.resolution] * passes / denoising
        print(f"share of the matrix rate: {rate / matrix_tflops(device, dtype):.0%}")
    print(f"peak RSS: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def compare_memory(arguments: argparse.Namespace) -> int:
    """Peak memory of 30 s and of 300 s, each in a process of its own."""
    peaks = []
    for seconds in (30, 300):
        same = ["size", "resolution", "steps", "fps", "dtype"]
        given = [f"--{name}={value}" for name in same if (value := getattr(arguments, name))]
        command = [sys.executable, __file__, f"--seconds={seconds}", *given]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(said)
        gpu = [line for line in said.splitlines() if line.startswith("peak")]
        peaks.append([float(line.split()[-2]) for line in gpu])
    growth = max(long / short for short, long in zip(*peaks, strict=True))
    print(f"300 s take {growth:.2f} times the memory of 30 s")
    return int(growth > MEMORY_GROWTH_ALLOWED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"))
    parser.add_argument("--memory", action="store_true", help="compare 30 s with 300 s")
    arguments = parser.parse_args()
    if arguments.memory:
        return compare_memory(arguments)
    measure(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
