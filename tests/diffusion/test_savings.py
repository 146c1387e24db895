"""Each exact saving gives what the plain form gives."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch.nn import Module

from benchmarks.plain import materialised, plain_attention, plain_denoise
from dice_talk.diffusion import attention, condition
from dice_talk.diffusion.attention import AdapterAttention, Bank, Conditions, Tokens
from dice_talk.diffusion.condition import audio_rows, prepare_conditioning
from dice_talk.diffusion.decode import decode
from dice_talk.diffusion.denoise import LATENT_SCALE, Guidance, Windows, denoise, initial_latents
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.layers import PoseGuider
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.preprocess import Picture, prepare_picture
from dice_talk.diffusion.schedule import Schedule, karras_schedule
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
    fast = sample(engine, task, BatchSize(3), latents=start.clone())
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


def test_many_heads_go_in_portions(
    engine: DiffusionEngine, task: condition.Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predicted(engine, task.at(torch.arange(25)))
    monkeypatch.setattr(attention, "MAX_HEADS", 48)
    assert deviation(predicted(engine, task.at(torch.arange(25))), whole) < ROUNDING


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


def test_kept_projections_are_those_computed_anew(engine: DiffusionEngine, task: condition.Conditioning) -> None:
    layer = torch.nn.Linear(task.emotion.rows.shape[-1], 8, bias=False)
    kept, anew = Bank(task.emotion.rows, cache=True), Bank(task.emotion.rows)
    assert kept.project(layer) is kept.project(layer)
    assert anew.project(layer) is not anew.project(layer)
    assert torch.equal(kept.project(layer), anew.project(layer))
    other = torch.nn.Linear(task.emotion.rows.shape[-1], 8, bias=False)
    assert not torch.equal(kept.project(layer), kept.project(other))


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
    kept = sample(engine, make_task(engine, picture), BatchSize(3))
    for hook in hooks:
        hook.remove()
    assert layers and all(calls[layer] == 1 for layer in layers)
    monkeypatch.setattr(Bank, "project", lambda bank, layer: layer(bank.rows))
    assert torch.equal(kept, sample(engine, make_task(engine, picture), BatchSize(3)))


def test_audio_of_long_and_short_recordings(engine: DiffusionEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether audio tokens are kept for the whole task or made per window, each frame has the same ones."""
    net = engine.models.audio_linear
    heard = random(FRAMES, 10, 5, net.proj1.in_features // 50)
    silence = net(torch.zeros(1, net.proj1.in_features))
    kept = audio_rows(net, heard, silence)
    monkeypatch.setattr(condition, "KEPT_AUDIO_FRAMES", FRAMES - 1)
    on_demand = audio_rows(net, heard, silence)
    for window in Windows().at(1, FRAMES + 25):
        (bank, rows), (other, other_rows) = kept(window), on_demand(window)
        assert bank.cache and not other.cache
        assert deviation(other.rows[other_rows], bank.rows[rows]) < ROUNDING
        padding = window >= FRAMES
        assert torch.equal(bank.rows[rows][padding], silence.expand(int(padding.sum()), -1, -1))


def sample(
    engine: DiffusionEngine, task: condition.Conditioning, batch: BatchSize, first_step: int = 0, **start: Any
) -> Tensor:
    schedule = karras_schedule(2)
    noise = random(1, FRAMES + 25, 4, 8, 16, seed=3)
    latents = start.get("latents", initial_latents(task.reference, noise, schedule))
    predict = GuidedPredictor(engine.models.unet, task, Guidance(3, 6), schedule, batch)
    on_step = start.get("on_step", lambda step, latents: None)
    return denoise(predict, latents, schedule, Windows(), on_step, first_step)


def test_one_branch_at_a_time(engine: DiffusionEngine, task: condition.Conditioning) -> None:
    whole = sample(engine, task, BatchSize(3))
    assert deviation(sample(engine, task, BatchSize(1)), whole) < SAMPLED_ROUNDING


def test_sampling_resumes_from_any_step(engine: DiffusionEngine, task: condition.Conditioning) -> None:
    saved: dict[int, Tensor] = {}
    whole = sample(engine, task, BatchSize(3), on_step=saved.__setitem__)
    assert list(saved) == [1, 2] and torch.equal(saved[2], whole)
    assert torch.equal(sample(engine, task, BatchSize(3), first_step=1, latents=saved[1]), whole)


def test_sampling_takes_two_buffers_in_turns() -> None:
    """However many steps: nothing else is as long as the video."""
    schedule = karras_schedule(5)
    start = random(1, 30, 4, 2, 2)
    seen: list[int] = []
    denoise(lambda scaled, *_: scaled, start, schedule, Windows(), lambda step, now: seen.append(now.data_ptr()))
    assert seen[1::2] == [start.data_ptr()] * 2 and len(set(seen)) == 2


def test_the_start_is_built_in_the_noise() -> None:
    schedule, reference, noise = karras_schedule(2), random(1, 4, 2, 3), random(1, 30, 4, 2, 3, seed=1)
    wanted = LATENT_SCALE * reference[:, None] + noise * schedule.sigmas[0]
    start = initial_latents(reference, noise, schedule)
    assert start.data_ptr() == noise.data_ptr()
    assert torch.equal(start, wanted)


def test_sampling_ends_when_the_step_callback_raises(engine: DiffusionEngine, task: condition.Conditioning) -> None:
    def stop(step: int, latents: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(engine, task, BatchSize(3), on_step=stop)


def test_padding_is_not_decoded(engine: DiffusionEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = random(1, 12 + 25, 4, 8, 8)
    vae = engine.models.vae
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


def test_windows_take_every_frame() -> None:
    for total in (26, 50, 99):
        for step in range(30):
            frames = torch.cat(list(Windows().at(step, total)))
            assert set(frames.tolist()) == set(range(total))
            assert len(frames) == 25 * Windows().count(total)


def test_covered_frames_are_averaged() -> None:
    """With a prediction that only depends on the frame, an overlap changes nothing."""
    schedule = Schedule(torch.zeros(2), torch.tensor([2.0, 1.0, 0.0]))
    latents = random(1, 30, 4, 2, 2)

    def predict(scaled: Tensor, step: int, frames: Tensor) -> Tensor:
        return scaled * 0.1

    plain = denoise(predict, latents.clone(), schedule, Windows(), lambda step, latents: None)
    overlapping = denoise(predict, latents, schedule, Windows(overlap=7), lambda step, latents: None)
    assert deviation(overlapping, plain) < 1e-6
