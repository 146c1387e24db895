"""Each exact saving gives what the plain form gives."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch.nn import Module

from benchmarks.plain import materialised, plain_attention, plain_denoise
from dice_talk.diffusion import condition
from dice_talk.diffusion.attention import AdapterAttention, Bank, Conditions, Tokens
from dice_talk.diffusion.condition import prepare_conditioning
from dice_talk.diffusion.denoise import Guidance, Windows, denoise, initial_latents
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.layers import PoseGuider
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.preprocess import Picture, prepare_picture
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.emotions import Emotion
from dice_talk.face import Box
from tests.diffusion.cases import deviation
from tests.diffusion.small import SAMPLED_ROUNDING, WIDE, make_unet, random

pytestmark = pytest.mark.usefixtures("inference")
ROUNDING = 2e-5
FRAMES = 7


@pytest.fixture(scope="module")
def engine(engine: DiffusionEngine) -> DiffusionEngine:
    return replace(
        engine, models=replace(engine.models, unet=make_unet(WIDE).optimise_for_inference(), pose_guider=pose_guider())
    )


def pose_guider() -> PoseGuider:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PoseGuider(32, (8, 8, 8, 8)).eval()


@pytest.fixture(scope="module")
def picture() -> Picture:
    portrait = torch.randint(0, 256, (80, 120, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return prepare_picture(portrait.numpy(), Box(50, 10, 110, 70), 64)


@pytest.fixture(scope="module")
def task(engine: DiffusionEngine, picture: Picture) -> condition.Conditioning:
    return make_task(engine, picture)


def make_task(engine: DiffusionEngine, picture: Picture) -> condition.Conditioning:
    sound = torch.randn(FRAMES * 1280, generator=torch.Generator().manual_seed(1)).numpy() / 4
    with torch.inference_mode():
        return prepare_conditioning(engine.models, picture, sound, Emotion.SAD, 1.0, lambda share: None)


def predicted(engine: DiffusionEngine, conditions: Conditions, frames: int = 25) -> Tensor:
    latents = random(3, frames, 8, 8, 16)
    latents[2] = latents[1]  # as in every guidance
    return engine.models.unet.predict(latents, torch.tensor(1.0), torch.tensor([[12.5, 8.0, 16.0]] * 3), conditions)


@pytest.fixture(scope="module")
def plain(engine: DiffusionEngine) -> DiffusionEngine:
    """The same weights in diffusers' own blocks."""
    return replace(engine, models=replace(engine.models, unet=make_unet(WIDE)))


def test_attention(
    engine: DiffusionEngine, plain: DiffusionEngine, task: condition.Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image token is `to_v` of it; temporal K and V once per window; attention not materialised."""
    conditions = task.at(torch.arange(-3, 22) % (FRAMES + 25))
    fast = predicted(engine, conditions)
    monkeypatch.setattr(AdapterAttention, "forward", plain_attention(materialised))
    assert deviation(fast, predicted(plain, conditions)) < ROUNDING


def test_all_savings_together(
    engine: DiffusionEngine, plain: DiffusionEngine, task: condition.Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler of two steps against one that saves nothing; both start from the same noise."""
    schedule = karras_schedule(2)
    start = initial_latents(task.reference, random(1, FRAMES + 25, 4, 8, 16, seed=3), schedule)
    fast = sample(engine, task, start.clone())
    monkeypatch.setattr(AdapterAttention, "forward", plain_attention(materialised))
    slow = plain_denoise(plain.models.unet, task, Guidance(3, 6), schedule, start)
    assert deviation(fast, slow) < SAMPLED_ROUNDING


def test_rearranged_weights(engine: DiffusionEngine, plain: DiffusionEngine, task: condition.Conditioning) -> None:
    """Query, key and value as one product, frames that attend to each other where they lie, and what guidance branches
    have in common made once.
    """
    fast = engine.models.unet
    attn = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    assert f"{attn}.to_q.weight" in plain.models.unet.state_dict()
    assert f"{attn}.to_qkv.weight" in fast.state_dict()
    rows: list[int] = []
    hook = (
        fast.down_blocks[0]
        .resnets[0]
        .spatial_res_block.conv1.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    )
    conditions = task.at(torch.arange(25))
    assert deviation(predicted(engine, conditions), predicted(plain, conditions)) < ROUNDING
    hook.remove()
    assert rows == [2 * 25]


def test_tokens_of_their_own_for_every_frame(engine: DiffusionEngine, task: condition.Conditioning) -> None:
    """Emotion, silence, image and pose are computed and projected once, not per frame and branch."""
    conditions = task.at(torch.arange(25))

    def repeated(source: Tokens) -> Tokens:
        rows = source.bank.rows[source.index].flatten(0, 1)
        return Tokens(Bank(rows), torch.arange(len(rows)).view(3, 25))

    audio, emotion = (repeated(source) for source in conditions.adapters)
    pose = conditions.pose.expand(75, -1, -1, -1)
    plain = Conditions(repeated(conditions.image), (audio, emotion), pose, conditions.masks)
    assert deviation(predicted(engine, conditions), predicted(engine, plain)) < ROUNDING


def test_k_and_v_are_computed_once_for_all_steps(
    engine: DiffusionEngine, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and values of image, audio and emotion, in every spatial layer, for any number of windows and steps."""
    calls: Counter[Module] = Counter()
    layers = [
        layer
        for name, attn in engine.models.unet.named_modules()
        if name.endswith("attn2") and not attn.processor.temporal
        for layer in (attn.to_v, *attn.processor.to_k_ip, *attn.processor.to_v_ip)
    ]
    hooks = [layer.register_forward_hook(lambda module, *_: calls.update([module])) for layer in layers]
    kept = sample(engine, make_task(engine, picture))
    for hook in hooks:
        hook.remove()
    assert layers and all(calls[layer] == 1 for layer in layers)
    monkeypatch.setattr(Bank, "project", lambda bank, layer: layer(bank.rows))
    assert torch.equal(kept, sample(engine, make_task(engine, picture)))


def sample(engine: DiffusionEngine, task: condition.Conditioning, latents: Tensor | None = None) -> Tensor:
    schedule = karras_schedule(2)
    if latents is None:
        latents = initial_latents(task.reference, random(1, FRAMES + 25, 4, 8, 16, seed=3), schedule)
    predict = GuidedPredictor(engine.models.unet, task, Guidance(3, 6), schedule, BatchSize(3))
    return denoise(predict, latents, schedule, Windows(), lambda step, latents: None)
