import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dice_talk.digest import digest
from tests.labels.files import NAMED, write


def test_the_hash_and_the_size_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"abc", bytes(3_000_000)):
        path.write_bytes(content)
        assert digest(path) == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def run(*paths: Path) -> list[Any]:
    command = [sys.executable, "-m", "dice_talk.digest", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_all_files_of_a_render_are_described(portrait: Path, speech: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    write(video, NAMED)
    image, audio, rest = run(portrait, speech, video)
    assert image == {"image": {**digest(portrait), "width": 360, "height": 360}}
    assert audio == {"audio": {**digest(speech), "seconds": 8.25}}
    assert rest["video"] == digest(video)
    assert rest["labels"]["aigc"]["ProduceID"] == NAMED.produce_id


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_file_that_is_gone_is_named(portrait: Path, speech: Path, tmp_path: Path, gone: int) -> None:
    video = tmp_path / "video.mp4"
    write(video, NAMED)
    paths = [portrait, speech, video]
    paths[gone] = tmp_path / "gone"
    assert run(*paths)[gone:] == [{"missing": str(tmp_path / "gone")}]
