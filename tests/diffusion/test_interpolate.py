"""Frames at any rate: which times, from which frames, how many at once, and whether motion is followed."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor

from dice_talk.diffusion.interpolate import between, resample
from dice_talk.diffusion.rife import Motion

pytestmark = pytest.mark.usefixtures("inference")
SIDE = 64


def scene(shift: float) -> Tensor:
    """A smooth pattern (1, 3, H, W) in [0, 1], moved to the right by `shift` pixels."""
    y, x = torch.meshgrid(torch.arange(SIDE).double(), torch.arange(SIDE).double(), indexing="ij")
    waves = [torch.sin((x - shift) * 0.4 + c) * torch.cos(y * 0.2 + c) for c in range(3)]
    return (0.5 + 0.4 * torch.stack(waves)).float()[None]


def moving(pixels: float) -> Motion:
    """The motion midway between two frames when all moves right by `pixels`."""
    flow = torch.zeros(1, 4, SIDE, SIDE)
    flow[:, 0], flow[:, 2] = -pixels / 2, pixels / 2
    return Motion(flow, torch.full((1, 1, SIDE, SIDE), 0.5))


@pytest.mark.parametrize("place", [0.05, 0.25, 0.5, 0.8, 0.95])
def test_motion_is_followed_to_any_time(place: float) -> None:
    first, second, wanted = scene(0), scene(6), scene(6 * place)
    inner = (..., slice(None), slice(10, -10))  # what enters at the edges is not known

    def error(made: Tensor) -> float:
        return float((made - wanted)[inner].abs().mean())

    made = between(first, second, moving(6), place)
    assert error(made) < 0.02
    assert error(made) < error(first + (second - first) * place) / 3
    assert error(made) < error(first if place < 0.5 else second) / 2


def test_the_ends_are_the_frames_themselves() -> None:
    first, second = scene(0), scene(6)
    assert torch.allclose(between(first, second, moving(6), 1e-6), first, atol=1e-4)
    assert torch.allclose(between(first, second, moving(6), 1 - 1e-6), second, atol=1e-4)


def test_pixels_seen_in_one_frame_only_come_from_it() -> None:
    first, second = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 3, SIDE, SIDE)
    flow, blend = torch.zeros(1, 4, SIDE, SIDE), torch.zeros(1, 1, SIDE, SIDE)
    blend[..., :32] = 1
    made = between(first, second, Motion(flow, blend), 0.7)
    assert float(made[..., :31].max()) == 0 and float(made[..., 33:].min()) == 1


class Clock:
    """Stands in for IFNet: frames are flat and as bright as their time, so a made frame tells its own time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, first: Tensor, second: Tensor) -> Motion:
        self.calls += 1
        return Motion(torch.zeros(1, 4, 16, 16), torch.full((1, 1, 16, 16), 0.5))


def flat(number: int) -> Iterator[Tensor]:
    for frame in range(number):
        yield torch.full((3, 16, 16), frame / 100)


@pytest.mark.parametrize("fps", [8, 12, 24, 25, 30, 50, 59, 60])
def test_every_frame_has_its_own_time(fps: int) -> None:
    number, count = 25, 2 * fps
    made = list(resample(Clock(), flat(number), fps, count))
    assert len(made) == count
    for index, frame in enumerate(made):
        wanted = min(Fraction(index * 25, 2 * fps), Fraction(number - 1))
        assert float(frame.mean()) * 100 == pytest.approx(float(wanted), abs=1e-3)


def test_motion_is_found_once_for_each_pair_that_needs_it() -> None:
    net = Clock()
    list(resample(net, flat(26), 60, 120))
    assert net.calls == 25
    net = Clock()
    list(resample(net, flat(26), 25, 50))
    assert net.calls == 25


def test_frames_stream() -> None:
    """No more model frames are taken than the frames made so far need, and none beyond the last."""
    taken: list[int] = []

    def watched() -> Iterator[Tensor]:
        for number, frame in enumerate(flat(1000)):
            taken.append(number)
            yield frame

    made = resample(Clock(), watched(), 25, 20)
    assert not taken
    for index in range(20):
        next(made)
        assert len(taken) <= index // 2 + 2
    assert list(made) == [] and len(taken) <= 12


@pytest.mark.parametrize("count", [1, 7])
def test_one_model_frame_is_held(count: int) -> None:
    net = Clock()
    made = list(resample(net, flat(1), 24, count))
    assert len(made) == count and net.calls == 0


def test_values_stay_in_range() -> None:
    loud: Any = (torch.full((3, 16, 16), value) for value in (-0.5, 1.5))
    made = torch.stack(list(resample(Clock(), loud, 60, 9)))
    assert float(made.min()) == 0 and float(made.max()) == 1
