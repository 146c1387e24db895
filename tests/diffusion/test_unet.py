"""The UNet with its adapters: what is installed where, and its last layer alone."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dataclasses import replace

from torch import Tensor

from dice_talk.diffusion.attention import AdapterAttention, SelfAttention, SpatialBlock, TemporalBlock
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.unet import DiceTalkUNet
from tests.diffusion.cases import deviation
from tests.diffusion.small import SHALLOW, make_task, make_unet, random

pytestmark = pytest.mark.usefixtures("inference")
ROUNDING = 2e-5
SIDE, FRAMES, CHANNELS = 8, 4, 64
CONFIG = {**SHALLOW, "block_out_channels": [CHANNELS, CHANNELS], "num_attention_heads": [2, 2]}
"""Two channels in each group of a norm, which would otherwise remove what the timestep adds to a channel."""


@pytest.fixture(scope="module")
def unet() -> DiceTalkUNet:
    return make_unet(CONFIG).optimise_for_inference()


@pytest.fixture(scope="module")
def task() -> Conditioning:
    return replace(make_task(FRAMES, side=SIDE), pose=random(1, CHANNELS, SIDE, SIDE, seed=5))


def inputs(task: Conditioning, frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor]:
    latents = random(3, frames, 8, SIDE, SIDE)
    latents[2] = latents[1]  # as in every guidance
    return latents, torch.tensor(0.7), task.time_ids


def test_the_last_layer_alone_gives_the_whole(unet: DiceTalkUNet, task: Conditioning) -> None:
    """When what it is given comes from the same step."""
    conditions = task.at(torch.arange(FRAMES))
    given = *inputs(task), conditions
    whole, deep = unet.predict_with_features(*given)
    assert torch.equal(whole, unet.predict(*given))
    assert deviation(unet.predict_last_layer(*given, deep), whole) < ROUNDING


def test_the_last_layer_takes_the_rest_from_another_step(unet: DiceTalkUNet, task: Conditioning) -> None:
    conditions = task.at(torch.arange(FRAMES))
    latents, timestep, ids = inputs(task)
    _, deep = unet.predict_with_features(latents, timestep, ids, conditions)
    _, later = unet.predict_with_features(latents + 1, timestep, ids, conditions)
    outputs = [unet.predict_last_layer(latents, timestep, ids, conditions, given) for given in (deep, later)]
    assert outputs[0].shape == (3, FRAMES, 4, SIDE, SIDE)
    assert deviation(outputs[1], outputs[0]) > 100 * ROUNDING
    times = unet.predict_last_layer(latents, timestep + 1, ids, conditions, deep)
    assert deviation(times, outputs[0]) > 10 * ROUNDING, "the timestep counts there too"
    scaled = unet.predict_last_layer(latents, timestep, 2 * ids, conditions, deep)
    assert deviation(scaled, outputs[0]) > 10 * ROUNDING, "so do frame rate and motion buckets"


def test_adapters_are_in_every_cross_attention() -> None:
    """Under the published names, in their own width for temporal and spatial layers alike."""
    plain = make_unet(CONFIG)
    layers = {name: module for name, module in plain.named_modules() if name.endswith("attn2")}
    assert layers and all(isinstance(layer.processor, AdapterAttention) for layer in layers.values())
    keys = set(plain.state_dict())
    for name, layer in layers.items():
        assert layer.processor.temporal == ("temporal_transformer_blocks" in name)
        assert {f"{name}.processor.to_{kind}_ip.{number}.weight" for kind in "kv" for number in range(2)} <= keys


def test_faster_blocks_take_the_place_of_all() -> None:
    fast = make_unet(CONFIG).optimise_for_inference()
    names = dict(fast.named_modules())
    blocks = [module for name, module in names.items() if name.endswith("transformer_blocks.0")]
    assert {type(block) for block in blocks} == {SpatialBlock, TemporalBlock}
    own = [module for name, module in names.items() if name.endswith("attn1")]
    assert own and all(isinstance(attn.processor, SelfAttention) for attn in own)


def test_the_pose_is_added_after_the_first_convolution(unet: DiceTalkUNet, task: Conditioning) -> None:
    """To every frame of every branch alike, or a pose for each frame."""
    seen: list[Tensor] = []
    hook = unet.down_blocks[0].register_forward_pre_hook(
        lambda module, given, named: seen.append(named["hidden_states"]), with_kwargs=True
    )
    conditions = task.at(torch.arange(FRAMES))
    poses = random(FRAMES, *conditions.pose.shape[1:], seed=8)
    for pose in (0 * conditions.pose, conditions.pose, poses):
        unet.predict(*inputs(task), replace(conditions, pose=pose))
    hook.remove()
    without, one, each = (features.unflatten(0, (3, FRAMES)) for features in seen)
    assert deviation(one - without, conditions.pose.expand_as(one)) < ROUNDING
    assert deviation(each - without, poses.expand_as(each)) < ROUNDING


def test_features_are_kept_for_one_call_only(unet: DiceTalkUNet, task: Conditioning) -> None:
    conditions = task.at(torch.arange(FRAMES))
    (_, first), (_, second) = (unet.predict_with_features(*inputs(task), conditions) for _ in range(2))
    assert torch.equal(first, second) and first.data_ptr() != second.data_ptr()
    assert len(first) == 3 * FRAMES
