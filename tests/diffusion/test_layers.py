"""The small conditioning networks: shapes, ranges, and what depends on what."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor, nn

from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
from dice_talk.diffusion.priors import PRIOR_WIDTH
from tests.diffusion.cases import deviation
from tests.diffusion.small import random

pytestmark = pytest.mark.usefixtures("inference")
ROUNDING = 1e-5
TOKENS, WIDTH = 3, 16


def seeded(make: type[nn.Module], *arguments: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments).eval()


@pytest.fixture(scope="module")
def emotions() -> nn.Module:
    return seeded(EmotionModel, 8, TOKENS, WIDTH, 5)


@pytest.fixture(scope="module")
def guider() -> nn.Module:
    return seeded(PoseGuider, 6, (4, 4, 8, 8))


def test_a_vector_becomes_tokens_of_unit_variance() -> None:
    """Each by itself, in any number of dimensions."""
    net, vectors = seeded(TokenProjector, 10, 8, TOKENS, WIDTH), random(4, 5, 10)
    tokens = net(vectors)
    assert tokens.shape == (4, 5, TOKENS, WIDTH)
    assert torch.allclose(tokens.mean(-1), torch.zeros(()), atol=1e-5)
    assert torch.allclose(tokens.var(-1, correction=0), torch.ones(()), atol=1e-2)
    assert deviation(net(vectors[2, 3]), tokens[2, 3]) < ROUNDING


def test_hidden_layers_are_rectified() -> None:
    net, vector = seeded(TokenProjector, 10, 8, TOKENS, WIDTH), random(10)
    hidden = vector
    for layer in (net.proj1, net.proj2):
        hidden = (layer.weight @ hidden + layer.bias).clamp(min=0)
    assert deviation(net(vector), net.norm((net.proj3.weight @ hidden + net.proj3.bias).view(TOKENS, WIDTH))) < ROUNDING


def test_emotions_attend_to_the_tokens_of_all_codes(emotions: nn.Module) -> None:
    """With eight heads, by the definition of attention."""
    priors = random(2, PRIOR_WIDTH)
    source = emotions.kv_tokens_linear(emotions.codebook.codebook.weight).flatten(0, 1)
    assert source.shape == (5 * TOKENS, WIDTH)
    attention = emotions.attention
    query, key, value = attention.fc_q(emotions.emo_linear(priors)), attention.fc_k(source), attention.fc_v(source)
    heads = [slice(start, start + 2) for start in range(0, WIDTH, 2)]
    parts = [((query[..., h] @ key[:, h].T / 2**0.5).softmax(-1) @ value[:, h]) for h in heads]
    assert deviation(emotions(priors), torch.cat(parts, -1)) < ROUNDING


def test_priors_do_not_affect_each_other(emotions: nn.Module) -> None:
    priors = torch.cat((torch.zeros(1, PRIOR_WIDTH), random(2, PRIOR_WIDTH)))
    tokens = emotions(priors)
    assert tokens.shape == (3, TOKENS, WIDTH)
    for number in range(3):
        assert deviation(emotions(priors[number : number + 1]), tokens[number : number + 1]) < ROUNDING
    assert deviation(tokens[1], tokens[0]) > 100 * ROUNDING


@pytest.mark.parametrize(("height", "width"), [(16, 24), (64, 8)])
def test_poses_have_the_size_of_latents(guider: nn.Module, height: int, width: int) -> None:
    assert guider(random(2, 3, height, width)).shape == (2, 6, height // 8, width // 8)


def test_poses_are_local(guider: nn.Module) -> None:
    """A pixel reaches the latents about it, and none far away."""

    def features(mask: Tensor) -> Tensor:
        pose: Tensor = guider(mask)[0]
        return pose

    mask = random(1, 3, 96, 96)
    changed = mask.clone()
    changed[..., 4, 4] += 100
    difference = (features(changed) - features(mask)).abs().amax(0)
    assert float(difference[0, 0]) > 1e-5
    assert float(difference[6:].max()) == float(difference[:, 6:].max()) == 0
