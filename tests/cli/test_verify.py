"""`dice-talk verify`: which labels each file carries, in words or as JSON."""

import json
from pathlib import Path

import pytest

from dice_talk.cli import verify
from tests.cli.commands import typed
from tests.labels.files import NAMED, write

NOTHING = {"aigc": None, "digital_source_type": None, "visible_label": None, "c2pa": None}
SIGNED = {"state": "valid", "signer": "Studio", "generator": None, "digital_source_type": "compositeSynthetic"}


def test_labels_are_told_file_by_file(tmp_path: Path) -> None:
    write(tmp_path / "video.mp4", NAMED)
    (tmp_path / "text.mp4").write_text("no video")
    done = typed(tmp_path, "verify", "--json", "video.mp4", "text.mp4", "gone.mp4")
    assert (done.returncode, done.stderr) == (1, b"")
    video, text, gone = map(json.loads, done.stdout.splitlines())
    assert (video["file"], video["c2pa"]) == ("video.mp4", None)
    assert video["aigc"]["ContentProducer"] == NAMED.content_producer
    assert (text["file"], text["code"]) == ("text.mp4", "video_type")
    assert (gone["error"], gone["code"]) == ("No such file or directory", "file_unreadable")
    good = typed(tmp_path, "verify", "video.mp4")
    assert (good.returncode, good.stderr) == (0, b"")
    assert good.stdout.decode().startswith("video.mp4:\n  AIGC: {")


def test_a_file_without_labels_in_words() -> None:
    assert verify._in_words(Path("video.mp4"), NOTHING).splitlines() == [
        "video.mp4:",
        "  AIGC: none",
        "  DigitalSourceType: none",
        "  visible label, as the file notes: none",
        "  C2PA: none",
    ]


def test_labels_in_words() -> None:
    visible = {"text": "AI生成", "shown": "always"}
    found = {"aigc": {"Label": "某"}, "digital_source_type": "a", "visible_label": visible}
    signature = {**SIGNED, "problems": ["expired", "unknown"]}
    _, aigc, source, label, c2pa = verify._in_words(Path("video.mp4"), {**found, "c2pa": signature}).splitlines()
    assert (aigc, source) == ('  AIGC: {"Label": "某"}', "  DigitalSourceType: a")
    assert label == "  visible label, as the file notes: AI生成, always"
    assert c2pa == "  C2PA: valid, Studio, compositeSynthetic, expired, unknown"


@pytest.mark.parametrize(("detail", "words"), [("Send an MP4.", "It is a text. Send an MP4."), (None, "It is a text.")])
def test_errors_in_words(detail: str | None, words: str) -> None:
    assert verify._in_words(Path("a.mp4"), {"error": "It is a text", "detail": detail}) == f"a.mp4: {words}"
