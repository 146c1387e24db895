"""Both sides of every threshold, with the example recording made worse step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from dice_talk.audio import Recording, Speech, describe, load_speech
from dice_talk.errors import InvalidAudio
from dice_talk.speech_check import FLOOR_DBFS, SpeechFacts, advise, check_speech, is_silent, window_levels

LIMIT = 300
Samples = NDArray[np.floating[Any]]
Change = Callable[[Samples], Samples]


@pytest.fixture(scope="module")
def spoken(speech: Path) -> Speech:
    return load_speech(speech, LIMIT)


def check(samples: Samples, rate: int) -> SpeechFacts:
    changed = Speech(np.clip(samples, -1, 1).astype(np.float32).reshape(len(samples), -1), rate)
    return check_speech(Recording(changed.seconds, rate, 1), changed)


def codes(facts: SpeechFacts) -> list[str]:
    return [advice.code for advice in advise(facts, LIMIT)]


def quieter(decibels: float) -> Change:
    return lambda samples: samples * 10 ** (-decibels / 20)


def overdriven(factor: float) -> Change:
    return lambda samples: samples / np.abs(samples).max() * factor


def hiss(decibels: float) -> Change:
    """That far below the loud syllables, which lie at -21 dBFS."""
    noise = np.random.default_rng(0)
    return lambda samples: samples + noise.standard_normal(len(samples)) * 10 ** ((-21 - decibels) / 20)


def then_silence(share: float) -> Change:
    return lambda samples: np.pad(samples, (0, round(len(samples) * share)))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (quieter(0), []),
        (quieter(14), []),
        (quieter(20), ["quiet_audio"]),
        (quieter(60), ["silent_audio"]),
        (np.zeros_like, ["silent_audio"]),
        (overdriven(1.0), []),
        (overdriven(2.0), ["clipped_audio"]),
        (hiss(20), []),
        (hiss(15), ["background_noise"]),
        (then_silence(0.3), []),
        (then_silence(1.0), ["mostly_silence"]),
        (lambda samples: samples[: 24000 * 2], []),
        (lambda samples: samples[: 24000 // 2], ["short_audio"]),
    ],
)
def test_what_a_person_is_told(spoken: Speech, change: Change, found: list[str]) -> None:
    assert codes(check(change(spoken.original[:, 0]), spoken.rate)) == found


def test_a_file_that_is_longer_than_what_is_used(tmp_path: Path) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, np.sin(np.arange(8000 * 310) / 9), 8000)
    recording, speech = describe(file), load_speech(file, LIMIT)
    assert recording.seconds == pytest.approx(310)
    assert (recording.rate, recording.channels, speech.seconds) == (8000, 1, 300)
    (advice,) = [one for one in advise(check_speech(recording, speech), LIMIT) if one.code == "long_audio"]
    assert "5 min 10 s" in advice.message and "first 5 minutes" in advice.message and not advice.blocking


def test_an_mp3_says_how_long_it_is(spoken: Speech, tmp_path: Path) -> None:
    file = tmp_path / "speech.mp3"
    soundfile.write(file, np.repeat(spoken.original, 2, axis=1), spoken.rate, format="MP3")
    recording = describe(file)
    assert recording.channels == 2
    assert recording.seconds == pytest.approx(spoken.seconds, abs=0.1)


def test_what_is_no_recording_is_refused(portrait: Path) -> None:
    with pytest.raises(InvalidAudio, match="Invalid audio file type"):
        describe(portrait)


def test_levels_of_a_known_sound() -> None:
    """A sine of half the full amplitude: -6 dB at its peak, -9 dB on average."""
    sine = 0.5 * np.sin(2 * np.pi * 500 * np.arange(16000) / 16000)
    facts = check(sine, 16000)
    assert facts.level_dbfs == pytest.approx(-9.03, abs=0.05)
    assert facts.peak_dbfs == pytest.approx(-6.02, abs=0.05)
    assert facts.silent_share == 0
    assert list(window_levels(np.zeros((1, 2), np.float32), 16000)) == [FLOOR_DBFS]


def test_single_peaks_are_not_clipping() -> None:
    samples = np.zeros(1000, np.float32)
    samples[::10] = 1
    assert check(samples, 16000).clipped_share == 0
    samples[501:506] = -1
    assert check(samples, 16000).clipped_share == pytest.approx(0.006)  # with the peak before them


def test_silence_is_told_from_speech_in_either_channel(spoken: Speech) -> None:
    silence = np.zeros_like(spoken.original)
    assert is_silent(Speech(silence, spoken.rate))
    assert is_silent(Speech(spoken.original / np.float32(1000), spoken.rate))
    for channels in ([spoken.original, silence], [silence, spoken.original], [spoken.original, -spoken.original]):
        assert not is_silent(Speech(np.hstack(channels), spoken.rate))
