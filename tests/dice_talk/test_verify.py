import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.labels.files import NAMED, write


def verify(path: Path) -> Any:
    command = [sys.executable, "-m", "dice_talk.verify", str(path)]
    (line,) = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    return json.loads(line)


def test_labels_are_found(tmp_path: Path) -> None:
    write(tmp_path / "video.mp4", NAMED)
    labels = verify(tmp_path / "video.mp4")["labels"]
    assert labels["aigc"]["ContentProducer"] == NAMED.content_producer
    assert labels["digital_source_type"] == "compositeSynthetic" and labels["c2pa"] is None


def test_what_is_no_video_is_refused_with_words(portrait: Path) -> None:
    answer = verify(portrait)
    assert answer["error"] == "The file is not an MP4 video" and answer["detail"].startswith("Send an MP4")
