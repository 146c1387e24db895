import numpy as np
import pytest

from dice_talk.lite.arrays import RATE, Floats
from dice_talk.lite.rhythm import find_rhythm


def words(seconds: float, *spoken: tuple[float, float, float]) -> Floats:
    """Energy with words given as start, length and height."""
    energy = np.zeros(round(seconds * RATE), np.float32)
    for start, length, height in spoken:
        span = slice(round(start * RATE), round((start + length) * RATE))
        energy[span] = height * np.sin(np.linspace(0, np.pi, span.stop - span.start))
    return energy


def test_the_louder_of_two_close_words_is_the_accent() -> None:
    rhythm = find_rhythm(words(3, (0.5, 0.3, 0.5), (0.9, 0.3, 1.0)))
    assert rhythm.accents == pytest.approx([1.05], abs=0.05)


def test_words_far_apart_have_accents_of_their_own() -> None:
    assert len(find_rhythm(words(6, (0.5, 0.4, 1), (2.5, 0.4, 1), (4.5, 0.4, 1))).accents) == 3


def test_even_murmur_has_no_accents() -> None:
    assert find_rhythm(np.full(500, 0.5, np.float32)).accents == ()


def test_a_pause_ends_a_phrase_and_begins_another() -> None:
    rhythm = find_rhythm(words(5, (0.5, 1.0, 1), (2.5, 1.0, 1)))
    assert rhythm.ends == pytest.approx([1.5, 3.5], abs=0.06)
    assert rhythm.starts == pytest.approx([2.5], abs=0.06)


def test_a_gap_between_two_words_is_no_pause() -> None:
    assert len(find_rhythm(words(4, (0.5, 1.0, 1), (1.6, 1.0, 1))).ends) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_silence_has_no_rhythm(count: int) -> None:
    rhythm = find_rhythm(np.zeros(count, np.float32))
    assert rhythm.accents == rhythm.ends == rhythm.starts == ()
