import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def inspect(image: Path, audio: Path) -> Any:
    command = [sys.executable, "-m", "dice_talk.intake", str(image), str(audio), "300"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_good_files_are_measured(portrait: Path, speech: Path) -> None:
    assert inspect(portrait, speech) == [{"width": 360, "height": 360}, {"seconds": 8.25}]


def test_the_first_refusal_ends_it(portrait: Path, speech: Path) -> None:
    (answer,) = inspect(speech, speech)
    assert answer["error"] == "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"
    assert answer["detail"].startswith("The file is a WAV recording.")
    assert inspect(portrait, portrait)[1] == {
        "error": "Invalid audio file type. Allowed types: ['audio/wav', 'audio/mpeg']",
        "detail": "The file is a JPEG picture. Send the recording itself, as WAV or MP3.",
        "code": "audio_type",
        "params": {
            "kind": "a JPEG picture",
            "kind_id": "jpeg",
            "family": "other",
            "step": "Send the recording itself, as WAV or MP3.",
            "command": "",
        },
    }
