from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dice_talk.audio import SAMPLE_RATE, Samples, load_speech
from dice_talk.channels import downmix, to_mono

FIVE_ONE = ("FL", "FR", "FC", "LFE", "BL", "BR")
HALF = 0.5**0.5


@pytest.fixture(scope="module")
def voice(speech: Path) -> Samples:
    return load_speech(speech, 300).samples


def delayed(samples: Samples, count: int) -> Samples:
    return np.concatenate((np.zeros(count, np.float32), samples[:-count]))


def hiss(samples: Samples, level: float) -> Samples:
    return level * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)


def bands(samples: Samples) -> Any:
    """Logarithmic energy in 20 bands, every 10 ms: what a recogniser looks at."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160]
    power = np.abs(np.fft.rfft(frames * np.hanning(400))) ** 2
    edges = np.geomspace(3, 200, 21).astype(int)
    return np.log10(np.stack([power[:, a : b + 1].sum(axis=1) for a, b in pairwise(edges)]) + 1e-4)


def likeness(a: Samples, b: Samples) -> float:
    return float(np.corrcoef(bands(a).ravel(), bands(b).ravel())[0, 1])


def ways(v: Samples) -> dict[str, Samples]:
    """One voice in several channels, which their mean would weaken or lose."""
    half = np.where(np.arange(len(v)) < len(v) // 2, v, -v)
    silence, left, right = np.zeros_like(v), hiss(v, 1e-3), hiss(v, 1e-3)[::-1]
    return {
        "antiphase": np.stack([v, -v], 1),
        "antiphase in hiss": np.stack([v + left, right - v], 1),
        "antiphase, one weaker": np.stack([v, -0.7 * v], 1),
        "antiphase in the second half": np.stack([v, half], 1),
        "antiphase and 1 ms late": np.stack([v, -delayed(v, 16)], 1),
        "8 ms late": np.stack([v, delayed(v, 128)], 1),
        "right alone": np.stack([silence, v], 1),
        "right alone, hiss on the left": np.stack([left, v], 1),
        "the centre of 5.1": np.stack([silence, silence, v, silence, silence, silence], 1),
        "the centre of 5.1 in hiss": np.stack([left, right, v, left, right, left], 1),
    }


@pytest.mark.parametrize("name", ways(np.zeros(SAMPLE_RATE, np.float32)))
def test_nothing_cancels(voice: Samples, name: str) -> None:
    heard = to_mono(ways(voice)[name])
    assert heard.shape == voice.shape
    assert likeness(heard, voice) > (0.95 if "hiss" in name else 0.98)
    assert np.sqrt(np.mean(heard**2) / np.mean(voice**2)) == pytest.approx(1, abs=0.1)


def test_two_who_speak_in_turn_are_both_heard(voice: Samples) -> None:
    first = np.where(np.arange(len(voice)) % 32000 < 16000, voice, 0).astype(np.float32)
    second = voice - first
    assert likeness(to_mono(np.stack([first, second], 1)), voice) > 0.99


def test_ordinary_stereo_is_heard_as_well_as_its_mean(voice: Samples) -> None:
    """A voice in the middle of a room that answers differently on both sides."""
    rng = np.random.default_rng(0)
    fall = np.exp(-np.arange(1600) / 400) * 0.05
    sides = [
        voice + np.convolve(voice, rng.standard_normal(1600) * fall)[: len(voice)].astype(np.float32) for _ in range(2)
    ]
    stereo = np.stack(sides, 1).astype(np.float32)
    assert likeness(to_mono(stereo), voice) > likeness(stereo.mean(axis=1), voice) - 0.02


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_that_are_the_same_stay_what_they_are(voice: Samples, channels: int) -> None:
    assert np.array_equal(to_mono(np.repeat(voice[:, None], channels, axis=1)), voice)


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 511, 512, 513, 5000])
def test_any_length(length: int) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (length, 2)).astype(np.float32)
    heard = to_mono(sound)
    assert heard.shape == (length,)
    assert np.isfinite(heard).all()
    assert to_mono(np.zeros((length, 3), np.float32)).tolist() == [0] * length


@pytest.mark.parametrize(
    ("place", "left", "right"),
    [("FL", 1, 0), ("FR", 0, 1), ("FC", HALF, HALF), ("LFE", 0, 0), ("BL", HALF, 0), ("BR", 0, HALF)],
)
def test_the_standard_matrix(place: str, left: float, right: float) -> None:
    sound = np.zeros((4, 6), np.float32)
    sound[:, FIVE_ONE.index(place)] = 0.5
    for places in (FIVE_ONE, ("NONE",) * 6):
        assert downmix(sound, places) == pytest.approx(np.full((4, 2), (left / 2, right / 2)), abs=1e-6)


def test_a_mix_that_would_clip_is_made_quieter_as_a_whole() -> None:
    sound = np.linspace(-1, 1, 101, dtype=np.float32)[:, None] * np.ones((1, 6), np.float32)
    mixed = downmix(sound, FIVE_ONE)
    assert mixed[:, 0] == pytest.approx(sound[:, 0], abs=1e-6)


def test_one_and_two_channels_are_left_alone() -> None:
    for channels in (1, 2):
        sound = np.random.default_rng(0).uniform(-1, 1, (9, channels)).astype(np.float32)
        assert downmix(sound, ()) is sound


def test_channels_of_no_known_place_are_averaged() -> None:
    sound = np.arange(32, dtype=np.float32).reshape(2, 16) / np.float32(32)
    assert downmix(sound, ()).tolist() == [[7.5 / 32], [23.5 / 32]]
