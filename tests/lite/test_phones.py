from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dice_talk.audio import SAMPLE_RATE, load_speech
from dice_talk.lite import phones
from dice_talk.lite.phones import recognise


def test_sounds_of_real_speech_follow_one_another_to_the_end(speech: Path) -> None:
    sound = load_speech(speech, 6)
    found = recognise(sound.samples, lambda share: None)
    assert len({phone.name for phone in found}) > 8
    assert all(a.stop <= b.start + 1e-6 for a, b in pairwise(found))
    assert abs(found[-1].stop - sound.seconds) < 0.2


def test_a_long_recording_is_cut_and_told_of_chunk_by_chunk(speech: Path) -> None:
    samples = load_speech(speech, 4).samples
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    shares: list[float] = []
    found = recognise(np.concatenate([samples, quiet] * 6), shares.append)
    assert len(shares) >= 2 and shares == sorted(shares) and shares[-1] == 1
    assert max(phone.stop for phone in found) > 4 * 5


def test_the_same_speech_is_heard_the_same_way_twice(speech: Path) -> None:
    samples = load_speech(speech, 3).samples
    assert recognise(samples, lambda share: None) == recognise(samples, lambda share: None)


def test_the_shortest_sound_and_silence_are_no_error() -> None:
    for samples in (np.full(800, 0.01, np.float32), np.zeros(SAMPLE_RATE, np.float32)):
        shares: list[float] = []
        assert all(phone.stop <= len(samples) / SAMPLE_RATE + 0.05 for phone in recognise(samples, shares.append))
        assert shares == [1.0]


@pytest.mark.parametrize("seconds", [0.01, 8, 14, 14.01, 40])
def test_chunks_cover_a_recording_without_gaps_and_are_not_too_long(seconds: float) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    chunks = list(phones._chunks(samples))
    assert chunks[0][0] == 0 and chunks[-1][1] == len(samples)
    assert all(before[1] == after[0] for before, after in pairwise(chunks))
    lengths = [(stop - start) / SAMPLE_RATE for start, stop in chunks]
    assert max(lengths) <= 14 and all(length >= 8 for length in lengths[:-1])


def test_a_recording_is_cut_where_it_is_quiet() -> None:
    samples = np.full(16 * SAMPLE_RATE, 0.5, np.float32)
    samples[11 * SAMPLE_RATE : round(11.2 * SAMPLE_RATE)] = 0
    (_, stop), _ = phones._chunks(samples)
    assert 11 < stop / SAMPLE_RATE < 11.2
