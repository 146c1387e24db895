"""Frames out of latents: how many at once, which ones, and in which range."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from dice_talk.diffusion import tiny
from dice_talk.diffusion.decode import decode
from dice_talk.diffusion.denoise import LATENT_SCALE
from dice_talk.diffusion.memory import BatchSize
from tests.diffusion.cases import deviation
from tests.diffusion.small import random

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLTemporalDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKLTemporalDecoder.from_config(tiny.VAE).eval().requires_grad_(False)
    vae.decoder.conv_out.weight *= 10  # for values out of range
    return vae


def test_padding_is_not_decoded(vae: AutoencoderKLTemporalDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = random(1, 12 + 25, 4, 8, 8)
    everything = list(decode(vae, latents, 37, BatchSize(10)))
    decoded: list[int] = []
    plain: Callable[..., Any] = vae.decode

    def noted(z: Tensor, num_frames: int) -> Any:
        decoded.append(num_frames)
        return plain(z, num_frames)

    monkeypatch.setattr(vae, "decode", noted)
    needed = list(decode(vae, latents, 12, BatchSize(10)))
    assert decoded == [10, 10]
    assert len(needed) == 12
    assert all(torch.equal(a, b) for a, b in zip(needed, everything, strict=False))


def test_frames_are_the_decoders_in_another_range(vae: AutoencoderKLTemporalDecoder) -> None:
    """From about -1 to 1 to about 0 to 1, and not clamped. The last chunk is filled up with padding."""
    latents = random(1, 6, 4, 4, 4)
    found = list(decode(vae, latents, 5, BatchSize(3)))
    assert [frame.shape for frame in found] == [(3, 32, 32)] * 5
    parts = [vae.decode(part / LATENT_SCALE, num_frames=3).sample for part in latents[0].split(3)]
    assert deviation(torch.stack(found) * 2 - 1, torch.cat(parts)[:5]) < 1e-5
    assert torch.stack(found).min() < 0 and torch.stack(found).max() > 1


def test_frames_stream(vae: AutoencoderKLTemporalDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is decoded when its first frame is asked for."""
    decoded: list[int] = []
    plain: Callable[..., Any] = vae.decode

    def noted(z: Tensor, num_frames: int) -> Any:
        decoded.append(num_frames)
        return plain(z, num_frames)

    monkeypatch.setattr(vae, "decode", noted)
    frames = decode(vae, random(1, 4, 4, 2, 2), 4, BatchSize(2))
    assert not decoded
    next(frames), next(frames)
    assert decoded == [2]
    next(frames)
    assert decoded == [2, 2]


def test_chunks_become_smaller_when_memory_runs_out(
    vae: AutoencoderKLTemporalDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame is lost or made twice, in the chunk where it happens and after it."""
    latents, decoded = random(1, 6, 4, 2, 2), []
    plain: Callable[..., Any] = vae.decode

    def tight(z: Tensor, num_frames: int) -> Any:
        if num_frames > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        decoded.append(num_frames)
        return plain(z, num_frames)

    wanted = list(decode(vae, latents, 6, BatchSize(2)))
    monkeypatch.setattr(vae, "decode", tight)
    found = list(decode(vae, latents, 6, BatchSize(4, smaller=2)))
    assert decoded == [2, 2, 2]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
