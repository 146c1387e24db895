import numpy as np
import pytest

from dice_talk.audio import SAMPLE_RATE
from dice_talk.lite.loudness import amplitude, loudness

RNG = np.random.default_rng(0)


def syllables(seconds: float, level: float = 0.3) -> np.ndarray:
    """Noise that comes and goes three times a second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    swell = np.maximum(np.sin(2 * np.pi * 3 * time), 0)
    return (level * swell * RNG.standard_normal(len(time))).clip(-1, 1).astype(np.float32)


def test_amplitude_is_the_root_mean_square() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.5 * np.sin(2 * np.pi * 400 * time)).astype(np.float32)
    assert amplitude(tone)[10:-10] == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_silence_and_hiss_are_not_loud() -> None:
    assert loudness(np.zeros(SAMPLE_RATE, np.float32)).max() == 0
    hiss = 1e-4 * RNG.standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    assert loudness(hiss).max() < 0.15


def test_a_quiet_recording_is_as_loud_as_a_loud_one() -> None:
    sound = syllables(4)
    assert loudness(sound * np.float32(0.1)) == pytest.approx(loudness(sound), abs=0.06)


def test_syllables_reach_one_and_pauses_nothing() -> None:
    loud = loudness(syllables(4))
    assert 0.9 < np.percentile(loud, 95) <= 1.2
    assert np.percentile(loud, 10) < 0.05


def test_a_speaker_who_moves_away_still_opens_the_mouth() -> None:
    loud = loudness(np.concatenate([syllables(20), 0.15 * syllables(20)]))
    assert np.percentile(loud[-1000:], 95) > 0.5


def test_the_shortest_sound_has_one_value() -> None:
    assert len(loudness(np.full(10, 0.1, np.float32))) == 1
