"""The sampler: windows on a circle of frames, guidance, and how steps follow one another."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor

from dice_talk.diffusion.denoise import (
    LATENT_SCALE,
    SINGLE_PROCESS,
    Guidance,
    Windows,
    denoise,
    draw_noise,
    initial_latents,
)
from dice_talk.diffusion.schedule import Schedule, euler_step, karras_schedule, scale_input
from tests.diffusion.cases import deviation
from tests.diffusion.small import random

pytestmark = pytest.mark.usefixtures("inference")
CPU = torch.device("cpu")


def nothing(step: int, latents: Tensor) -> None:
    pass


def unchanged(scaled: Tensor, step: int, frames: Tensor) -> Tensor:
    return scaled


def test_windows_take_every_frame() -> None:
    for total in (26, 50, 99):
        for step in range(30):
            frames = torch.cat(list(Windows().at(step, total)))
            assert set(frames.tolist()) == set(range(total))
            assert len(frames) == 25 * Windows().count(total)


def test_windows_move_back_on_a_circle() -> None:
    windows = Windows(size=4, shift=3)
    assert [frames.tolist() for frames in windows.at(0, 6)] == [[0, 1, 2, 3], [4, 5, 0, 1]]
    assert [frames.tolist() for frames in windows.at(1, 6)] == [[3, 4, 5, 0], [1, 2, 3, 4]]
    assert [frames.tolist() for frames in windows.at(4, 6)] == [frames.tolist() for frames in windows.at(0, 6)]


def test_windows_overlap() -> None:
    windows = Windows(size=4, overlap=2, shift=0)
    assert [frames.tolist() for frames in windows.at(0, 6)] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 0, 1]]
    assert windows.count(6) == 3 and windows.count(7) == 4


def test_covered_frames_are_averaged() -> None:
    """With a prediction that only depends on the frame, an overlap changes nothing."""
    schedule = Schedule(torch.zeros(2), torch.tensor([2.0, 1.0, 0.0]))
    latents = random(1, 30, 4, 2, 2)

    def predict(scaled: Tensor, step: int, frames: Tensor) -> Tensor:
        return scaled * 0.1

    plain = denoise(predict, latents.clone(), schedule, Windows(), lambda step, latents: None)
    overlapping = denoise(predict, latents, schedule, Windows(overlap=7), lambda step, latents: None)
    assert deviation(overlapping, plain) < 1e-6


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


def test_guidance_goes_from_branch_to_branch() -> None:
    branches = random(3, 5, 4, 2, 2)
    none, image, everything = branches.unbind()
    assert torch.equal(Guidance(0, 0).combine(branches)[0], none)
    assert deviation(Guidance(1, 0).combine(branches)[0], image) < 1e-6
    assert deviation(Guidance(1, 1).combine(branches)[0], everything) < 1e-6
    wanted = none + 3 * (image - none) + 6 * (everything - image)
    assert deviation(Guidance(3, 6).combine(branches)[0], wanted) < 1e-6
    assert Guidance(3, 6).combine(branches.half()).dtype == torch.float32


def test_noise_follows_from_the_seed_and_the_size() -> None:
    """Numbers for the reference image are drawn first, as in the published code."""
    noise = draw_noise(3, 5, (1, 3, 16, 24), CPU, torch.float32)
    assert noise.shape == (1, 5, 4, 2, 3)
    assert torch.equal(noise, draw_noise(3, 5, (1, 3, 16, 24), CPU, torch.float32))
    assert not torch.equal(noise, draw_noise(4, 5, (1, 3, 16, 24), CPU, torch.float32))
    generator = torch.Generator().manual_seed(3)
    torch.randn(3 * 16 * 24, generator=generator)
    assert torch.equal(noise, torch.randn(noise.shape, generator=generator))


def test_windows_of_several_steps_are_computed_on_their_own() -> None:
    """Each window makes its steps before the next one begins, and then all move."""
    calls: list[tuple[int, int]] = []
    reported: list[int] = []

    def predict(scaled: Tensor, step: int, frames: Tensor) -> Tensor:
        calls.append((step, int(frames[0])))
        return scaled

    windows = Windows(size=4, shift=1, steps=2)
    denoise(predict, random(1, 8, 4, 2, 2), karras_schedule(3), windows, lambda step, latents: reported.append(step))
    assert calls == [(0, 0), (1, 0), (0, 4), (1, 4), (2, 6), (2, 2)]
    assert reported == [2, 3]


def test_a_frame_alone_takes_plain_euler_steps() -> None:
    """At its own noise levels, with scaled inputs."""
    schedule, start = karras_schedule(3), 700 * random(1, 4, 4, 2, 2)
    latents = start.clone()
    for step in range(3):
        sigma, next_sigma = schedule.sigmas[step], schedule.sigmas[step + 1]
        latents = euler_step(latents, 0.5 * scale_input(latents, sigma), sigma, next_sigma)
    found = denoise(lambda scaled, *_: 0.5 * scaled, start, schedule, Windows(size=4), nothing)
    assert deviation(found, latents) < 1e-6


def by_frame(scaled: Tensor, step: int, frames: Tensor) -> Tensor:
    """A prediction that depends on everything it may depend on."""
    return scaled * (1 + 0.01 * step + 0.1 * frames[:, None, None, None]) + scaled.mean(1, keepdim=True)


def test_sampling_resumes_from_any_step() -> None:
    saved: dict[int, Tensor] = {}
    schedule = karras_schedule(4)

    def save(step: int, latents: Tensor) -> None:
        saved[step] = latents.clone()

    whole = denoise(by_frame, random(1, 30, 4, 2, 2), schedule, Windows(), save)
    assert list(saved) == [1, 2, 3, 4] and torch.equal(saved[4], whole)
    for step in (1, 2, 3):
        assert torch.equal(denoise(by_frame, saved[step].clone(), schedule, Windows(), nothing, step), whole)


def test_sampling_ends_when_the_step_callback_raises() -> None:
    def stop(step: int, latents: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(unchanged, random(1, 30, 4, 2, 2), karras_schedule(2), Windows(), stop)


class Share:
    """One of two processes, which takes what the other computed from a list."""

    def __init__(self, rank: int, others: list[Tensor]) -> None:
        self.rank, self.count, self.others, self.own = rank, 2, others, list[Tensor]()

    def all_reduce(self, latents: Tensor) -> None:
        self.own.append(latents.clone())
        if self.others:
            latents += self.others.pop(0)


def test_processes_share_the_windows() -> None:
    """Each computes every other window, and their sums are what one process makes."""
    schedule, windows, start = karras_schedule(1), Windows(overlap=5), random(1, 60, 4, 2, 2)
    whole = denoise(by_frame, start.clone(), schedule, windows, nothing)
    first = Share(0, [])
    denoise(by_frame, start.clone(), schedule, windows, nothing, peers=first)
    seen: list[int] = []

    def noted(scaled: Tensor, step: int, frames: Tensor) -> Tensor:
        seen.append(int(frames[0]))
        return by_frame(scaled, step, frames)

    second = Share(1, first.own)
    assert torch.equal(denoise(noted, start.clone(), schedule, windows, nothing, peers=second), whole)
    assert seen == [20], "of those that begin at 0, 20 and 40"
    assert (SINGLE_PROCESS.rank, SINGLE_PROCESS.count) == (0, 1)
