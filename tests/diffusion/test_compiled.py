"""The compiled UNet gives what the plain one gives, and is compiled once for all sizes and lengths."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch._dynamo.utils import counters

from dice_talk.diffusion.attention import Bank, Conditions, Tokens, face_mask_levels
from dice_talk.diffusion.compiled import compile_blocks, use_channels_last, warm_up
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.diffusion.unet import DiceTalkUNet
from tests.diffusion.cases import deviation
from tests.diffusion.small import SHALLOW, make_unet, random

pytestmark = [pytest.mark.usefixtures("inference"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
ROUNDING = 2e-5


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def predicted(unet: DiceTalkUNet, height: int, width: int, length: int = 5) -> Tensor:
    context = SHALLOW["cross_attention_dim"]
    few = torch.tensor([[0] * 25, [1] * 25, [1] * 25])
    image, emotion = Bank(random(2, 1, context)), Bank(random(2, 2, context, seed=1))
    speech = Tokens(Bank(random(length, 2, context, seed=2)), few * (torch.arange(25) % length))
    conditions = Conditions(
        Tokens(image, few),
        (speech, Tokens(emotion, few)),
        random(1, 32, height, width, seed=3),
        face_mask_levels(random(1, 1, 8 * height, 8 * width, seed=4), height, width),
        twins=True,
    )
    latents = random(3, 25, 8, height, width, seed=5)
    latents[2] = latents[1]
    return unet.predict(latents, torch.tensor(0.5), torch.tensor([[12.5, 8.0, 16.0]] * 3), conditions)


def test_compiled_once_for_all_sizes_and_lengths() -> None:
    """As one graph a block: anything that Python would have to do in between is an error. The compiler itself is left
    out; what is traced here is what it would be given.
    """
    unet, plain = (make_unet(SHALLOW).optimise_for_inference() for _ in range(2))
    compile_blocks(unet, backend="aot_eager")
    predicted(unet, 8, 8)
    predicted(unet, 8, 16)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    assert deviation(predicted(unet, 16, 24, 40), predicted(plain, 16, 24, 40)) < ROUNDING
    assert counters["stats"]["unique_graphs"] == graphs


def test_channels_last_changes_no_number() -> None:
    unet, plain = (make_unet(SHALLOW).optimise_for_inference() for _ in range(2))
    use_channels_last(unet)
    assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert deviation(predicted(unet, 8, 16), predicted(plain, 8, 16)) < ROUNDING


def test_the_warm_up_runs_what_renders_run(engine: DiffusionEngine) -> None:
    """The whole UNet of three branches, and its last layer of one."""
    seen: set[tuple[int, ...]] = set()
    unet = engine.models.unet
    hook = unet.conv_norm_out.register_forward_hook(lambda module, inputs, output: seen.add(tuple(inputs[0].shape)))
    warm_up(replace(engine.models), 64, 128)
    hook.remove()
    assert seen == {(75, 32, 8, 16), (25, 32, 8, 16)}
