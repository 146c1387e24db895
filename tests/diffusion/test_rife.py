"""IFNet and warping: where pixels are fetched from, and that both directions of time count the same."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch.nn import functional

from dice_talk.diffusion.rife import IFNet, warp
from tests.diffusion.cases import deviation

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture(scope="module")
def net() -> IFNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return IFNet().eval()


def frame(seed: int, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_warp_fetches_from_where_the_flow_points() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4)
    flow[:, 0], flow[:, 1] = 1, -1
    assert torch.allclose(
        warp(image, flow)[0, 0], torch.tensor([[1.0, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]), atol=1e-5
    )


def test_clamped_places_are_the_repeated_edge() -> None:
    image = torch.rand(2, 3, 20, 28, generator=torch.Generator().manual_seed(0))
    flow = 40 * torch.randn(2, 2, 20, 28, generator=torch.Generator().manual_seed(1))
    flow[:, :, 0], flow[:, :, :, -1] = 0, 0  # places on the very edge
    y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 28), indexing="ij")
    grid = torch.stack((x + flow[:, 0] * 2 / 27, y + flow[:, 1] * 2 / 19), -1)
    wanted = functional.grid_sample(image, grid, padding_mode="border", align_corners=True)
    assert torch.allclose(warp(image, flow), wanted, atol=1e-5)


def test_without_flow_nothing_moves() -> None:
    assert torch.allclose(warp(frame(0), torch.zeros(2, 2, 32, 48)), frame(0), atol=1e-5)


def test_places_between_pixels_are_mixed() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4)
    flow[:, 0] = 0.25
    assert torch.allclose(warp(image, flow)[0, 0, 1], torch.tensor([4.25, 5.25, 6.25, 7]), atol=1e-5)


def test_motion_has_the_size_of_the_frames(net: IFNet) -> None:
    motion = net(frame(0), frame(1))
    assert motion.flow.shape == (2, 4, 32, 48) and motion.blend.shape == (2, 1, 32, 48)
    assert float(motion.blend.min()) > 0 and float(motion.blend.max()) < 1


def test_frames_that_change_places_turn_the_motion_round(net: IFNet) -> None:
    ahead, back = net(frame(0), frame(1)), net(frame(1), frame(0))
    assert deviation(back.flow[:, :2], ahead.flow[:, 2:]) < 1e-4
    assert deviation(back.blend, 1 - ahead.blend) < 1e-4
    assert deviation(ahead.flow[:, :2], ahead.flow[:, 2:]) > 1e-2, "or the test would show nothing"


def test_pairs_do_not_affect_each_other(net: IFNet) -> None:
    together, alone = net(frame(0), frame(1)), net(frame(0)[1:], frame(1)[1:])
    assert deviation(together.flow[1:], alone.flow) < 1e-4
