"""How well frames between model frames are made: `python benchmarks/interpolation.py [--flownet flownet.pkl]`.

A textured disc turns and drifts over a textured background; every frame is known exactly at any time. From the frames
at 12.5 per second those at other rates are made by repeating, by cross-fading and by RIFE's motion, and compared with
the true ones: mean absolute error in levels of 255, over the pixels that move.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dice_talk.diffusion.checkpoints import ifnet
from dice_talk.diffusion.interpolate import MODEL_RATE, resample
from dice_talk.diffusion.rife import IFNet

SIDE, SECONDS = 256, 0.8
MODEL_FRAMES = int(SECONDS * MODEL_RATE)


def pattern(x: Tensor, y: Tensor) -> Tensor:
    """Return a smooth texture (3, H, W) in [0, 1]."""
    waves = [torch.sin(x * 0.21 + y * 0.07 + c) * torch.cos(y * 0.17 - x * 0.05 + 2 * c) for c in range(3)]
    return 0.5 + 0.4 * torch.stack(waves)


def picture(time: float) -> Tensor:
    """Draw the scene (3, H, W) at `time` seconds: a head-like disc that nods, drifts at 40 px/s, turns by 1 rad/s."""
    y, x = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")
    centre_x, centre_y = 110 + 40 * time, 128 + 10 * math.sin(6 * time)
    turn = 1.0 * time
    u, v = x - centre_x, y - centre_y
    rotated = pattern(
        u * math.cos(turn) + v * math.sin(turn) + 300, (v * math.cos(turn) - u * math.sin(turn)) * 1.3 + 100
    )
    inside = ((60 - (u**2 + v**2).sqrt()) / 2).sigmoid()
    return rotated * inside + pattern(x, y) * (1 - inside) * 0.7


def repeated(frames: list[Tensor], fps: int, count: int) -> list[Tensor]:
    return [frames[min(int(k * MODEL_RATE / fps), len(frames) - 1)] for k in range(count)]


def crossfaded(frames: list[Tensor], fps: int, count: int) -> list[Tensor]:
    made = []
    for k in range(count):
        place = float(k * MODEL_RATE / fps)
        first = min(int(place), len(frames) - 1)
        second = min(first + 1, len(frames) - 1)
        made.append(frames[first] + (frames[second] - frames[first]) * (place - first))
    return made


def error(made: list[Tensor], fps: int) -> float:
    """Return the mean absolute error over moving pixels, in levels of 255."""
    total = weight = 0.0
    for number, frame in enumerate(made):
        moving = (picture(number / fps) - picture(number / fps + 0.04)).abs().amax(0) > 1 / 255
        total += float((frame - picture(number / fps)).abs().mean(0)[moving].sum()) * 255
        weight += float(moving.sum())
    return total / weight


def measure(net: IFNet, fps: int) -> dict[str, float]:
    """Return errors by method, over the times between the first and the last model frame."""
    frames = [picture(float(number / MODEL_RATE)) for number in range(MODEL_FRAMES)]
    count = int((MODEL_FRAMES - 1) / MODEL_RATE * fps) + 1
    methods: dict[str, Callable[[], list[Tensor]]] = {
        "repeat": lambda: repeated(frames, fps, count),
        "cross-fade": lambda: crossfaded(frames, fps, count),
        "motion": lambda: list(resample(net, frames, fps, count)),
    }
    return {name: error(method(), fps) for name, method in methods.items()}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flownet", type=Path, required=True, help="RIFE HDv3's weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net = ifnet(torch.load(arguments.flownet, map_location="cpu", weights_only=True))
    print("| fps | repeat | cross-fade | motion |\n| ---: | ---: | ---: | ---: |")
    for fps in (8, 24, 25, 30, 50, 60):
        print(f"| {fps} | " + " | ".join(f"{value:.2f}" for value in measure(net, fps).values()) + " |")


if __name__ == "__main__":
    main()
