import numpy as np
import pytest

from dice_talk.lite.motion import blinks, ease, glances, head_motion, lid_positions


def times(seconds: float, fps: int) -> np.ndarray:
    return (np.arange(round(seconds * fps)) + 0.5) / fps


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def test_people_blink_about_sixteen_times_a_minute() -> None:
    starts = blinks(600, 1.0, generator())
    assert 12 < len(starts) / 10 < 20
    assert np.diff(starts).min() > 1.5


def test_rate_makes_blinks_more_or_less_frequent() -> None:
    assert len(blinks(300, 1.6, generator())) > 1.3 * len(blinks(300, 1.0, generator()))


@pytest.mark.parametrize("fps", [8, 15, 24, 60])
def test_every_blink_shows_closed_eyes_at_any_frame_rate(fps: int) -> None:
    at = times(30, fps)
    starts = blinks(30, 1.0, generator())
    shut = lid_positions(at, starts)
    for start in starts:
        near = shut[(at > start - 0.15) & (at < start + 0.45)]
        assert near.max() > 0.97
    assert shut[0] == 0 and shut.min() == 0


def test_no_blink_is_cut_off_at_the_end() -> None:
    assert all(start + 0.3 < 3 for seed in range(20) for start in blinks(3, 1.0, np.random.default_rng(seed)))


def test_glances_are_small_quick_and_fall_back() -> None:
    at = times(60, 25)
    where = glances(at, generator())
    assert np.abs(where).max() < 0.025
    still = np.abs(np.diff(where, axis=0)).max(axis=1) < 1e-6
    assert still.mean() > 0.8


def test_the_head_starts_where_the_portrait_has_it_and_does_not_drift() -> None:
    energy = np.abs(np.sin(np.arange(30_000) / 20)).astype(np.float32)
    motion = head_motion(times(300, 25), energy, generator())
    assert abs(motion.yaw[0]) < 1e-3
    thirds = [part.mean() for part in np.array_split(motion.yaw, 3)]
    assert np.abs(thirds).max() < np.radians(1.0)
    assert np.radians(0.8) < motion.yaw.std() < np.radians(2.5)


def test_the_head_moves_the_same_way_at_any_frame_rate() -> None:
    energy = np.abs(np.sin(np.arange(1000) / 20)).astype(np.float32)
    slow, fast = (head_motion(times(10, fps), energy, generator()) for fps in (10, 50))
    assert slow.yaw == pytest.approx(fast.yaw[2::5], abs=1e-6)


def test_stressed_syllables_make_it_nod() -> None:
    energy = np.zeros(1000, np.float32)
    energy[500:520] = 1
    nod = head_motion(times(10, 25), energy, generator()).pitch
    still = head_motion(times(10, 25), np.zeros(1000, np.float32), generator()).pitch
    assert np.argmax(nod - still) == pytest.approx(127, abs=4)


def test_easing_runs_from_zero_to_one() -> None:
    assert ease(np.array([0.0, 0.3, 0.6, 9]), 0.6) == pytest.approx([0, 0.5, 1, 1])
