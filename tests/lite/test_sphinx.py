import os
import subprocess
import sys
from pathlib import Path

import pytest

from dice_talk.audio import load_speech
from dice_talk.lite import phones, sphinx
from dice_talk.lite.phones import recognise


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
