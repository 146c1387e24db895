"""Finished videos side by side: which cell is whose, how long, with which sound and labels."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dice_talk import sheet
from dice_talk.labels import UNNAMED, Labels, reading
from dice_talk.sheet import make_sheet
from dice_talk.video import AUDIO_RATE, VideoWriter, probe

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 200)}
LABELS = Labels(
    content_producer="Somebody", visible_label="start", visible_label_text="en", source_type="algorithmicMedia"
)


def write(
    path: Path,
    colour: tuple[int, int, int],
    *,
    frames: int = 6,
    width: int = 128,
    height: int = 64,
    labels: Labels = UNNAMED,
) -> Path:
    time = np.arange(AUDIO_RATE, dtype=np.float32) / AUDIO_RATE
    sound = (0.3 * np.sin(2 * np.pi * 440 * time))[:, None].astype(np.float32)
    picture = np.full((height, width, 3), colour, np.uint8)
    with VideoWriter(
        path,
        width=width,
        height=height,
        fps=12,
        frames=frames,
        sound=sound,
        rate=AUDIO_RATE,
        metadata={},
        labels=labels,
    ) as writer:
        for _ in range(frames):
            writer.write(picture)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    return {name: write(tmp_path / f"{name}.mp4", colour) for name, colour in COLOURS.items()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 25)


@pytest.mark.parametrize("name", ["sheet.png", "sheet.jpg"])
def test_a_picture(videos: dict[str, Path], tmp_path: Path, name: str) -> None:
    make_sheet(videos, tmp_path / name, force=False)
    picture = pixels(tmp_path / name)
    assert picture.shape == (128, 256, 3), "two rows of two"
    assert near(picture[30, 64], COLOURS["red"]) and near(picture[30, 192], COLOURS["green"])
    assert near(picture[94, 64], COLOURS["blue"]) and near(picture[94, 192], (0, 0, 0))
    assert picture[:20, :40].max() > 240, "its name"


def test_a_clip_plays_all_with_the_sound_and_the_labels_of_the_first(videos: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    write(videos["red"], COLOURS["red"], labels=LABELS)
    make_sheet(videos, target, force=False)
    info, one = probe(target), probe(videos["red"])
    assert (info.width, info.height, float(info.fps), info.frames) == (256, 128, 12, 6)
    assert info.audio_seconds == pytest.approx(one.audio_seconds, abs=0.03)
    with av.open(str(target)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(container.streams.audio[0])], axis=1)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.2)
    found = reading.read(target)
    assert isinstance(found.aigc, dict)
    assert (found.aigc["ContentProducer"], found.digital_source_type) == ("Somebody", "algorithmicMedia")
    assert found.visible_label == {"text": "AI-generated", "shown": "start"}


def test_it_is_as_long_as_the_shortest_and_large_videos_shrink(tmp_path: Path) -> None:
    long = write(tmp_path / "long.mp4", COLOURS["red"], frames=9, width=1024, height=512)
    short = write(tmp_path / "short.mp4", COLOURS["blue"], frames=5, width=1024, height=512)
    make_sheet({"short": short, "long": long}, tmp_path / "clip.mp4", force=False)
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.frames) == (2 * sheet.CELL, sheet.CELL // 2, 5)


def test_nothing_is_replaced_without_force(videos: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        make_sheet(videos, target, force=False)
    assert target.read_bytes() == b"precious"
    make_sheet(videos, target, force=True)
    assert pixels(target).shape == (128, 256, 3)
    assert not list(tmp_path.glob(".*"))


def test_eight_stand_in_two_rows(tmp_path: Path) -> None:
    one = write(tmp_path / "one.mp4", COLOURS["red"])
    make_sheet({str(number): one for number in range(8)}, tmp_path / "sheet.png", force=False)
    assert pixels(tmp_path / "sheet.png").shape == (2 * 64, 4 * 128, 3)
