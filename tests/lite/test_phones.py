import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dice_talk.audio import SAMPLE_RATE, load_speech
from dice_talk.lite import phones, sphinx
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


def test_without_its_extension_the_same_library_hears_the_same(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = load_speech(speech, 10).samples
    heard = recognise(samples, lambda share: None)
    monkeypatch.setattr(phones, "Decoder", sphinx.Decoder)
    monkeypatch.setattr(phones, "get_model_path", sphinx.get_model_path)
    assert recognise(samples, lambda share: None) == heard


def test_a_model_that_is_not_there_is_told() -> None:
    with pytest.raises(RuntimeError, match="could not be set up"):
        sphinx.Decoder(hmm="/nowhere", allphone="/nowhere", loglevel="FATAL")


def test_nothing_is_fetched_where_pocketsphinx_is() -> None:
    offline = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-m", "dice_talk.lite.sphinx"]
    assert subprocess.run(command, env=offline, capture_output=True, timeout=60).returncode == 0
