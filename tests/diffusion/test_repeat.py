"""What overflows in half precision is computed once more in float32. The numbers here really overflow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor

from dice_talk.diffusion.attention import SpatialBlock
from dice_talk.diffusion.checkpoints import Models, load_models
from dice_talk.diffusion.decode import decode
from dice_talk.diffusion.denoise import Predict
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.repeat import Repeated, in_float32
from dice_talk.engine import RenderJob
from dice_talk.errors import RenderFailed
from dice_talk.options import Quality, RenderOptions
from tests.diffusion.cases import deviation
from tests.diffusion.recorder import Recorder
from tests.diffusion.small import random

pytestmark = [pytest.mark.usefixtures("inference"), pytest.mark.usefixtures("recorder")]
STEPS = 3
BRIEF = RenderOptions(emotion="happy", seed=3, duration=0.3, fps=8).model_copy(
    update={"inference_steps": STEPS, "min_resolution": 64}
)
"""Less than clients may ask for, because a CPU is slow in half precision."""
WINDOWS = 2
CPU, HALF = torch.device("cpu"), torch.float16


@pytest.fixture
def models(tiny_checkpoints: Path) -> Models:
    """In half precision, and nobody else's: the tests change weights."""
    return load_models(tiny_checkpoints, CPU, HALF)


@pytest.fixture
def job(portrait: Path, speech: Path, tmp_path: Path) -> RenderJob:
    return RenderJob(portrait, speech, tmp_path / "out.mp4", BRIEF)


def render(engine: DiffusionEngine, job: RenderJob) -> tuple[Any, list[str]]:
    result = engine.render(job, lambda progress: None)
    return np.stack(Recorder.pictures.pop("out")), result.notes


def overflowing_unet(models: Models) -> None:
    """Large numbers in the middle of the network, that a normalisation makes small again."""
    conv = models.unet.down_blocks[0].resnets[0].spatial_res_block.conv1
    conv.weight.mul_(1e6)
    seen: list[Tensor] = []
    hook = conv.register_forward_hook(lambda _module, _given, output: seen.append(output))
    conv(torch.ones(1, conv.in_channels, 8, 8, dtype=HALF))
    hook.remove()
    assert seen[0].isinf().any()


@pytest.mark.parametrize("quality", [Quality.EXACT, Quality.FAST])
def test_steps_of_windows(
    engine: DiffusionEngine, models: Models, job: RenderJob, quality: Quality, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is that of float32; every step of every window overflows."""
    overflowing_unet(models)
    models = replace(models, vae=in_float32(models.vae))  # saves time
    job = replace(job, options=BRIEF.model_copy(update={"quality": quality}))
    frames, notes = render(replace(engine, models=models), job)
    assert notes == ["Computed in float16.", f"{WINDOWS * STEPS} steps of windows were computed again in float32."]
    assert "overflowed in torch.float16 and is repeated in float32" in caplog.text
    if quality is Quality.EXACT:
        precise = replace(models, unet=in_float32(models.unet), dtype=torch.float32)
        others = {name: in_float32(getattr(models, name)) for name in ("image_encoder", "pose_guider")}
        wanted, notes = render(replace(engine, models=replace(precise, **others)), job)
        assert notes == ["Computed in float32."]
        assert frames.std() > 1
        assert frames.shape == wanted.shape


def test_a_step_that_fits_is_not_repeated(engine: DiffusionEngine, models: Models, job: RenderJob) -> None:
    _, notes = render(replace(engine, models=models), job)
    assert notes == ["Computed in float16."]


def test_what_the_portrait_gives(
    engine: DiffusionEngine, models: Models, job: RenderJob, caplog: pytest.LogCaptureFixture
) -> None:
    """The pose does not fit into half precision, so everything that follows is in float32."""
    models.pose_guider.blocks[-1].bias.fill_(10)
    models.pose_guider.conv_out.weight.fill_(6e4)
    _, notes = render(replace(engine, models=models), job)
    assert "What the portrait gave did not fit: denoised in float32." in notes
    assert "The conditioning overflowed in torch.float16" in caplog.text


def test_chunks_of_frames(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    latents = random(1, 6, 4, 4, 4)
    models.vae.decoder.conv_in.weight.mul_(1e6 / 64)
    models.vae.decoder.conv_in.weight.clamp_(-6e4, 6e4)
    repeated = Repeated(HALF)
    found = list(decode(models.vae, latents, 6, BatchSize(3), repeated))
    assert repeated.chunks == 2 and repeated.notes[1] == "2 chunks of frames were computed again in float32."
    wanted = list(decode(in_float32(models.vae), latents, 6, BatchSize(3)))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert all(frame.isfinite().all() for frame in found)
    assert "decoded again in float32" in caplog.text


def test_a_black_frame_is_suspicious_and_may_be_true() -> None:
    black, grey = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.5)
    repeated = Repeated(HALF)
    assert repeated.images(lambda: torch.stack((grey[0], black[0])), lambda: grey) is grey
    assert repeated.images(lambda: black, lambda: black) is black
    assert repeated.chunks == 2
    assert Repeated(torch.float32).images(lambda: black, lambda: grey) is black


def test_what_overflows_in_float32_too_fails() -> None:
    endless = torch.full((1, 2, 4, 2, 2), float("inf"))

    def overflows(latents: Tensor, step: int, frames: Tensor) -> Tensor:
        return endless

    for repeated in (Repeated(HALF), Repeated(torch.float32), Repeated(HALF, conditioning=True)):
        with pytest.raises(RenderFailed, match="overflowed"):
            repeated.predict(overflows, lambda: overflows)(endless, 0, torch.arange(2))
    with pytest.raises(RenderFailed, match="overflowed"):
        Repeated(HALF).images(lambda: endless[0], lambda: endless[0])


def test_the_copy_is_made_once_and_only_when_needed() -> None:
    good, bad, made = torch.ones(1, 2, 4, 2, 2), torch.full((1, 2, 4, 2, 2), float("nan")), []
    outputs = iter([good, bad, good, bad])

    def precise() -> Predict:
        made.append(1)
        return lambda latents, step, frames: good

    repeated = Repeated(HALF)
    predict = repeated.predict(lambda latents, step, frames: next(outputs), precise)
    for step, copies in enumerate((0, 1, 1, 1)):
        assert predict(good, step, torch.arange(2)) is good
        assert len(made) == copies
    assert repeated.steps == 2


def test_a_copy_shares_nothing_with_a_compiled_network(models: Models) -> None:
    """What was compiled belongs to the original and would compute with its weights."""
    block = next(module for module in models.unet.modules() if isinstance(module, SpatialBlock))
    setattr(block, "compute", lambda *given: 0)  # noqa: B010 - as compile_blocks does it
    twin = in_float32(models.unet)
    assert twin.dtype == torch.float32 and models.unet.dtype == HALF
    copied = next(module for module in twin.modules() if isinstance(module, SpatialBlock))
    assert "compute" in vars(block) and "compute" not in vars(copied)
    assert deviation(copied.norm2.weight, block.norm2.weight.float()) == 0
