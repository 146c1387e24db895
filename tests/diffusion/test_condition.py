"""Conditions of every branch and frame: what is absent where, and what is computed once."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion import condition
from dice_talk.diffusion.condition import Conditioning, audio_rows, time_ids
from dice_talk.diffusion.denoise import Windows
from dice_talk.diffusion.layers import TokenProjector
from tests.diffusion.cases import deviation
from tests.diffusion.small import make_task, random

pytestmark = pytest.mark.usefixtures("inference")
FRAMES, ROUNDING = 7, 2e-5


def listener() -> TokenProjector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TokenProjector(10 * 5 * 8, 16, 2, 16).eval()


@pytest.fixture(scope="module")
def task() -> Conditioning:
    return make_task(FRAMES)


def test_dynamic_scale_multiplies_both_motion_buckets() -> None:
    assert time_ids(1.0, torch.device("cpu")).tolist() == [[12.5, 8.0, 16.0]] * 3
    assert time_ids(0.5, torch.device("cpu")).tolist() == [[12.5, 4.0, 8.0]] * 3


def test_audio_of_long_and_short_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether audio tokens are kept for the whole task or made per window, each frame has the same ones."""
    net, heard = listener(), random(FRAMES, 10, 5, 8)
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


def test_tokens_are_made_in_float32_and_then_cast() -> None:
    """Numbers beyond the range of half precision may occur on the way, because the last layer scales them again."""
    net, heard = listener(), random(FRAMES, 10, 5, 8)
    net.proj1.weight.mul_(1e6)
    wanted = net(heard.flatten(1))
    assert torch.relu(net.proj1(heard.flatten(1))).half().isinf().any()
    bank, rows = audio_rows(net, heard, random(1, 2, 16).half())(torch.arange(FRAMES))
    assert bank.rows.dtype == torch.float16
    assert torch.equal(bank.rows[rows], wanted.half())


def test_every_frame_hears_its_own_sound() -> None:
    net, heard = listener(), random(FRAMES, 10, 5, 8)
    bank, rows = audio_rows(net, heard, random(1, 2, 16))(torch.tensor([4, 2]))
    assert deviation(bank.rows[rows], net(heard[[4, 2]].flatten(1))) < ROUNDING


def test_a_window_of_padding_alone_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "KEPT_AUDIO_FRAMES", 0)
    silence = random(1, 2, 16)
    bank, rows = audio_rows(listener(), random(FRAMES, 10, 5, 8), silence)(torch.tensor([FRAMES, FRAMES + 3]))
    assert torch.equal(bank.rows, silence) and rows.tolist() == [0, 0]


def test_branches_and_padding(task: Conditioning) -> None:
    """Nothing; the image; the image, audio and emotion. Padding has the image alone."""
    frames = torch.tensor([FRAMES - 1, FRAMES, 0])
    conditions = task.at(frames)
    audio, emotion = conditions.adapters
    assert conditions.image.index.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert emotion.index.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]
    bank, rows = task.audio(frames)
    assert audio.bank is bank and audio.index.tolist() == [[0, 0, 0], [0, 0, 0], rows.tolist()]
    assert rows.tolist() == [FRAMES, 0, 1]
    assert conditions.twins


def test_what_frames_share_is_shared(task: Conditioning) -> None:
    first, second = task.at(torch.arange(3)), task.at(torch.arange(5))
    assert first.image.bank is second.image.bank is task.image and task.image.cache
    assert first.adapters[1].bank is second.adapters[1].bank is task.emotion
    assert first.adapters[0].bank is second.adapters[0].bank
    assert first.pose is task.pose and first.masks is task.masks
