import numpy as np
import pytest

from dice_talk.lite.motion import blinks, breath, brow_flashes, ease, gaze, head_motion, lid_positions, surge
from dice_talk.lite.rhythm import Rhythm

SILENT = Rhythm((), (), ())


def times(seconds: float, fps: int) -> np.ndarray:
    return (np.arange(round(seconds * fps)) + 0.5) / fps


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def test_people_blink_about_sixteen_times_a_minute() -> None:
    starts = blinks(600, 1.0, (), generator())
    assert 12 < len(starts) / 10 < 20
    assert np.diff(starts).min() > 1.5


def test_rate_makes_blinks_more_or_less_frequent() -> None:
    assert len(blinks(300, 1.6, (), generator())) > 1.3 * len(blinks(300, 1.0, (), generator()))


@pytest.mark.parametrize("fps", [8, 15, 24, 60])
def test_every_blink_shows_closed_eyes_at_any_frame_rate(fps: int) -> None:
    at = times(30, fps)
    starts = blinks(30, 1.0, (), generator())
    shut = lid_positions(at, starts)
    for start in starts:
        near = shut[(at > start - 0.15) & (at < start + 0.45)]
        assert near.max() > 0.97
    assert shut[0] == 0 and shut.min() == 0


def test_no_blink_is_cut_off_at_the_end() -> None:
    assert all(start + 0.3 < 3 for seed in range(20) for start in blinks(3, 1.0, (2.9,), np.random.default_rng(seed)))


def test_blinks_fall_on_the_ends_of_phrases() -> None:
    ends = tuple(np.arange(2, 60, 3.0))
    starts = blinks(60, 1.0, ends, generator())
    on = [np.abs(np.array(ends) - start).min() < 1e-6 for start in starts]
    assert np.mean(on) > 0.3 and np.diff(starts).min() > 1.5


def test_the_gaze_jumps_and_rests_and_returns_to_the_viewer() -> None:
    at = times(60, 25)
    where = gaze(at, generator())
    jumps = np.flatnonzero(np.linalg.norm(np.diff(where, axis=0), axis=1) > np.radians(0.3))
    moved = 1 + np.count_nonzero(np.diff(jumps) > 2)
    assert 0.5 < moved / 60 < 2
    assert np.radians(6) < np.abs(where[:, 0]).max() < np.radians(9)
    assert np.abs(where).max(axis=1).min() == 0 and 0.2 < (np.abs(where).max(axis=1) < 1e-6).mean() < 0.7


def test_the_head_starts_where_the_portrait_has_it_and_does_not_drift() -> None:
    energy = np.abs(np.sin(np.arange(30_000) / 20)).astype(np.float32)
    motion = head_motion(times(300, 25), energy, SILENT, generator())
    assert abs(motion.yaw[0]) < 1e-3
    thirds = [part.mean() for part in np.array_split(motion.yaw, 3)]
    assert np.abs(thirds).max() < np.radians(1.0)
    assert np.radians(1.5) < motion.yaw.std() < np.radians(4)


def test_the_head_turns_no_further_than_the_picture_allows() -> None:
    at, energy = times(300, 25), np.ones(30_000, np.float32)
    motion = head_motion(at, energy, Rhythm(tuple(np.arange(1, 300)), tuple(np.arange(2, 300, 4)), ()), generator())
    assert np.abs(motion.yaw).max() < np.radians(7) and np.abs(motion.pitch).max() < np.radians(6)
    assert np.abs(motion.roll).max() < np.radians(2.6)


def test_the_head_moves_the_same_way_at_any_frame_rate() -> None:
    energy = np.abs(np.sin(np.arange(1000) / 20)).astype(np.float32)
    rhythm = Rhythm((2.0, 5.5), (7.0,), ())
    slow, fast = (head_motion(times(10, fps), energy, rhythm, generator()) for fps in (10, 50))
    assert slow.yaw == pytest.approx(fast.yaw[2::5], abs=1e-6)
    assert slow.pitch == pytest.approx(fast.pitch[2::5], abs=1e-6)


def test_accents_make_it_nod_and_ends_of_phrases_tilt() -> None:
    at, energy = times(10, 25), np.zeros(1000, np.float32)
    still, answering = (head_motion(at, energy, rhythm, generator()) for rhythm in (SILENT, Rhythm((5.0,), (8.0,), ())))
    nod, tilt = answering.pitch - still.pitch, answering.roll - still.roll
    assert nod.max() > np.radians(0.8) and np.argmax(nod) == pytest.approx(127, abs=4)
    assert np.abs(tilt[:180]).max() < 1e-6 < np.abs(tilt[200:220]).min()


def test_some_accents_raise_the_brows() -> None:
    accents = tuple(np.arange(1, 60, 2.0))
    raised = brow_flashes(times(60, 25), accents, generator())
    heights = np.array([raised[int(accent * 25) : int(accent * 25) + 8].max() for accent in accents])
    assert raised.min() == 0 and raised.max() <= 1
    assert 0.25 < (heights > 0.4).mean() < 0.8


def test_breath_comes_about_every_four_seconds() -> None:
    lungs = breath(times(60, 25), generator())
    assert lungs[0] == pytest.approx(0, abs=0.02) and np.abs(lungs).max() <= 0.5
    breaths = np.count_nonzero((lungs[1:] > 0) & (lungs[:-1] <= 0))
    assert 12 <= breaths <= 18


def test_a_surge_rises_stays_and_falls_to_a_third() -> None:
    wave = surge(np.array([0.0, 1.0, 1.5, 2.0, 2.5, 3.5]), 1.0, 1.0, 0.5, 1.0)
    assert wave == pytest.approx([0, 0, 0.5, 1, 1, np.exp(-1)])


def test_easing_runs_from_zero_to_one() -> None:
    assert ease(np.array([0.0, 0.3, 0.6, 9]), 0.6) == pytest.approx([0, 0.5, 1, 1])
