import numpy as np
import pytest

from dice_talk.lite.course import make_course

TIMES = (np.arange(500) + 0.5) / 50


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_emotion_comes_within_half_a_second_stays_and_ebbs() -> None:
    strength = make_course((), generator())(TIMES)
    assert strength[0] < 0.02 and strength[25] > 0.9
    assert strength[25:75].min() > 0.9
    assert 0.4 < strength[-1] < 0.65


def test_it_returns_with_what_is_stressed() -> None:
    plain, stressed = (make_course(moments, generator())(TIMES) for moments in ((), (6.0,)))
    gain = stressed - plain
    assert gain[300:330].max() > 0.12 and np.abs(gain[:280]).max() < 0.05


def test_it_is_never_quite_steady() -> None:
    late = make_course((), generator())(TIMES)[-50:]
    assert 0 < np.ptp(late) < 0.15


@pytest.mark.parametrize("seed", range(5))
def test_the_halves_of_the_face_differ_a_little(seed: int) -> None:
    course = make_course((3.0,), generator(seed))
    left, right = (course(TIMES, side) for side in (-1, 1))
    assert 0.05 <= abs(left[60:70].mean() / right[60:70].mean() - 1) < 0.14
    first = [float(TIMES[np.argmax(half > 0.5 * half[:60].max())]) for half in (left, right)]
    assert 0.02 <= abs(first[0] - first[1]) <= 0.1


def test_the_same_chance_gives_the_same_course() -> None:
    one, same, other = (make_course((2.0,), generator(seed))(TIMES) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
