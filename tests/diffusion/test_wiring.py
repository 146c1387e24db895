"""What the engine hands to its parts: the published constants, and every number of a request in its own place."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor

from dice_talk.diffusion import engine as wiring
from dice_talk.diffusion.decode import CHUNK
from dice_talk.diffusion.denoise import Guidance, Windows, draw_noise, initial_latents
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.repeat import Repeated
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.engine import RenderJob
from dice_talk.face import Box
from dice_talk.options import RenderOptions
from tests.diffusion.cases import Case

FRAMES = 30
OPTIONS = RenderOptions(emotion="sad", seed=11, ref_scale=1.5, emo_scale=4.0, inference_steps=9)


@pytest.mark.parity
def test_constants_are_the_published_ones(case: Callable[[str], Case]) -> None:
    call = case("audio_windows").about["data"]["short"]["pipe_kwargs"]
    assert Windows() == Windows(call["frames_per_batch"], call["overlap"], call["shift_offset"])
    assert call["decode_chunk_size"] == CHUNK


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `_sample` hands on for `OPTIONS`: to guidance, and to the sampler."""
    seen: dict[str, Any] = {}

    def guided(_unet: Any, _task: Any, guidance: Guidance, *_rest: Any) -> Callable[..., Any]:
        seen["guidance"] = guidance
        return lambda *given: given

    def denoise(_predict: Any, latents: Tensor, schedule: Any, windows: Windows, *_rest: Any) -> Tensor:
        seen.update(latents=latents.clone(), steps=len(schedule), windows=windows)
        return latents

    monkeypatch.setattr(wiring, "GuidedPredictor", guided)
    monkeypatch.setattr(wiring, "denoise", denoise)
    models: Any = SimpleNamespace(unet=None, device=torch.device("cpu"), dtype=torch.float32)
    engine = DiffusionEngine(models, lambda picture: [], "none")
    task: Any = SimpleNamespace(frames=FRAMES, reference=torch.full((1, 4, 2, 3), 0.5), dtype=torch.float32)
    picture: Any = SimpleNamespace(reference=torch.zeros(1, 3, 16, 24))
    job = RenderJob(Path(), Path(), Path(), OPTIONS)
    engine._sample(task, picture, job, lambda progress: None, Repeated(torch.float32))
    return seen


def test_options_reach_the_sampler(sampled: dict[str, Any]) -> None:
    assert sampled["guidance"] == Guidance(ref_scale=1.5, emo_scale=4.0)
    assert sampled["steps"] == 9
    assert sampled["windows"] == Windows()


def test_a_window_of_padding_follows_the_last_frame(sampled: dict[str, Any]) -> None:
    assert sampled["latents"].shape == (1, FRAMES + Windows().size, 4, 2, 3)


def test_the_seed_is_the_requests_own(sampled: dict[str, Any]) -> None:
    total = sampled["latents"].shape[1]
    noise = draw_noise(11, total, (1, 3, 16, 24), torch.device("cpu"), torch.float32)
    start = initial_latents(torch.full((1, 4, 2, 3), 0.5), noise, karras_schedule(9))
    assert torch.equal(sampled["latents"], start)


def test_the_face_moves_with_the_crop() -> None:
    portrait = np.arange(100 * 200 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8)
    cropped, face = wiring._cropped(portrait, Box(120, 40, 140, 60), 0.5)
    assert cropped.shape == (40, 40, 3)
    assert np.array_equal(cropped, portrait[30:70, 110:150])
    assert face == Box(10, 10, 30, 30)


def test_pixels_are_rounded() -> None:
    levels = torch.tensor([0.0, 0.4, 0.6, 99.4, 99.6, 255.0]) / 255
    pixels = wiring._pixels(levels.expand(3, 1, 6))
    assert pixels.shape == (1, 6, 3) and pixels.dtype == np.uint8
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 99, 100, 255]


@pytest.mark.parametrize(
    ("asked", "advised"), [(2048, "to 1408."), (512, "to 320."), (256, "to 128."), (192, "to 128."), (161, "to 128.")]
)
def test_less_memory_is_advised(asked: int, advised: str) -> None:
    assert advised in wiring._memory_advice(asked)


@pytest.mark.parametrize("asked", [128, 150])
def test_at_the_smallest_size_nothing_smaller_is_advised(asked: int) -> None:
    assert "too small" in wiring._memory_advice(asked) and "Lower" not in wiring._memory_advice(asked)
