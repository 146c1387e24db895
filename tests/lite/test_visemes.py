import numpy as np
import pytest

from dice_talk.lite.arrays import RATE
from dice_talk.lite.phones import Phone
from dice_talk.lite.visemes import Speaking, speak


def say(*sounds: tuple[str, float], loud: float = 1.0, quiet: tuple[str, ...] = ("SIL", "P", "B", "M")) -> Speaking:
    """Sounds with their lengths in seconds; loud, but for those in `quiet`."""
    phones, levels, start = [], [], 0.0
    for name, seconds in sounds:
        phones.append(Phone(name, start, start + seconds))
        levels.append(np.full(round(seconds * RATE), 0.1 if name in quiet else loud))
        start += seconds
    return speak(phones, np.concatenate(levels).astype(np.float32))


@pytest.mark.parametrize("name", ["P", "B", "M"])
def test_lips_shut_on_bilabials_even_short_ones(name: str) -> None:
    mouth = say(("AA", 0.3), (name, 0.04), ("AA", 0.3))
    assert mouth.closures == pytest.approx([0.32])
    assert mouth.gap[29:35].max() < 1e-6 and mouth.press[29:35].min() > 0.99 and mouth.press[10] == 0
    assert mouth.gap[[10, 55]].min() > 0.05


def test_a_closure_that_is_as_loud_as_its_surroundings_was_misheard() -> None:
    mouth = say(("AA", 0.3), ("B", 0.06), ("AA", 0.3), quiet=())
    assert mouth.closures == () and mouth.gap[30:36].min() > 0.02


def test_lips_shut_on_a_hum_that_is_nearly_as_loud_as_the_vowels() -> None:
    phones = [Phone("AA", 0, 0.3), Phone("M", 0.3, 0.4), Phone("AA", 0.4, 0.7)]
    loud = np.repeat(np.array([1.0, 0.9, 1.0], np.float32), [30, 10, 30])
    mouth = speak(phones, loud)
    assert mouth.closures == pytest.approx([0.35]) and mouth.gap[33:37].max() < 1e-6


def test_a_long_hum_is_shut_but_for_its_ends() -> None:
    mouth = say(("AA", 0.3), ("M", 0.3), ("AA", 0.3))
    assert mouth.press[34:56].min() > 0.99
    assert mouth.press[[29, 60]].max() == 0


def test_teeth_on_lip_for_f() -> None:
    mouth = say(("AA", 0.3), ("F", 0.1), ("AA", 0.3), quiet=("F",))
    assert 0 < mouth.gap[35] <= 0.011


def test_open_and_narrow_vowels_differ() -> None:
    assert say(("AA", 0.5)).gap[25] > 1.2 * say(("IY", 0.5)).gap[25]


def test_round_and_wide_vowels() -> None:
    assert say(("UW", 0.5)).round[25] > 0.8 > 0.2 > say(("IY", 0.5)).round[25]
    assert say(("IY", 0.5)).spread[25] > 0.012 > say(("UW", 0.5)).spread[25]


def test_loudness_opens_the_mouth_when_no_sound_was_recognised() -> None:
    loud = np.concatenate([np.zeros(50), np.ones(50), np.zeros(50)]).astype(np.float32)
    gap = speak([], loud).gap
    assert gap[75] > 0.03 and gap[20] < 1e-3 and gap[130] < 1e-3


def test_the_mouth_rests_in_silence_whatever_was_recognised() -> None:
    mouth = speak([Phone("AA", 0, 1)], np.zeros(100, np.float32))
    assert mouth.gap.max() < 1e-6 and abs(mouth.spread).max() == 0


def test_neighbouring_sounds_flow_into_one_another() -> None:
    gap = say(("AA", 0.3), ("IY", 0.3)).gap
    assert np.abs(np.diff(gap[10:50])).max() < 0.006


def test_an_unknown_sound_is_silence() -> None:
    assert say(("QQ", 0.3)).round.max() == 0
