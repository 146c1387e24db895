"""`dice-talk preflight`: what each file holds, in words or as JSON."""

import json
from pathlib import Path

import pytest
from PIL import Image

from dice_talk.cli import look
from dice_talk.cli.batch import Input
from tests.cli.commands import PORTRAIT, SPEECH, said, typed

FILE = Input("pictures/face.png", Path("pictures/face.png"))
PICTURE = {"width": 640, "height": 480, "faces": [{}], "output": {"width": 512, "height": 384}, "warnings": []}


def test_preflight(tmp_path: Path, faceless: Path) -> None:
    done = typed(tmp_path, "preflight", "--engine", "lite", PORTRAIT, SPEECH)
    assert (done.returncode, done.stderr) == (0, b"")
    portrait, speech = done.stdout.decode().splitlines()
    assert portrait == "portrait.jpg: 360 x 360, 1 face, video 256 x 256"
    assert speech.startswith("speech.wav: 8.25 s, 8.25 s used, level -")
    done = typed(tmp_path, "preflight", "--json", "--engine", "lite", "--face-index", 1, "-", faceless, stdin=b"hello")
    assert done.returncode == 1
    picture, sound = map(json.loads, done.stdout.splitlines())
    assert (picture["file"], picture["faces"], picture["warnings"][0]["blocking"]) == (str(faceless), [], True)
    assert (sound["file"], sound["error"].startswith("Invalid audio file type")) == ("-", True)


def test_the_overlay_is_a_file_of_its_own(tmp_path: Path) -> None:
    arguments = ("preflight", "--json", "--engine", "lite", PORTRAIT, SPEECH)
    found = [json.loads(line) for line in typed(tmp_path, *arguments).stdout.splitlines()]
    assert not any("overlay" in each for each in found)
    done = typed(tmp_path, *arguments, "--overlay", "faces.jpg")
    assert (done.returncode, json.loads(done.stdout.splitlines()[0])["overlay"]) == (0, "faces.jpg")
    with Image.open(tmp_path / "faces.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (360, 360))
    done = typed(tmp_path, *arguments, "--overlay", "faces.jpg")
    assert (done.returncode, "There already: faces.jpg" in said(done)[0]) == (2, True)
    done = typed(tmp_path, "preflight", SPEECH, "--overlay", "other.jpg")
    assert (done.returncode, "--overlay is for one portrait, and there are 0" in said(done)[0]) == (2, True)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"text")
    done = typed(tmp_path, "preflight", "--engine", "lite", "broken.jpg")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("broken.jpg: Invalid image file type. Allowed types: image/jpeg, image/png.")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (PICTURE, "face.png: 640 x 480, 1 face, video 512 x 384"),
        ({**PICTURE, "faces": [], "output": None}, "face.png: 640 x 480, 0 faces"),
        ({**PICTURE, "faces": [{}, {}]}, "face.png: 640 x 480, 2 faces, video 512 x 384"),
        (
            {"seconds": 8.25, "used_seconds": 3.0, "level_dbfs": -20.5, "warnings": [{"message": "It is quiet."}]},
            "face.png: 8.25 s, 3 s used, level -20.5 dBFS\n  It is quiet.",
        ),
        ({"error": "It is damaged", "detail": "Send another."}, "face.png: It is damaged. Send another."),
        ({"error": "It is damaged", "detail": None}, "face.png: It is damaged."),
        (
            {**PICTURE, "warnings": [{"message": "Use crop=true.", "blocking": True}]},
            "face.png: 640 x 480, 1 face, video 512 x 384\n  Use --crop.",
        ),
    ],
)
def test_in_words(found: dict[str, object], words: str) -> None:
    assert look._in_words(FILE, found) == words
