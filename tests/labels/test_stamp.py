from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from dice_talk.labels import GLYPHS, Labels, reading
from dice_talk.labels.stamp import FONT, Stamp
from tests.labels.files import decoded, write


@pytest.mark.parametrize("fps", [8, 24, 60])
@pytest.mark.parametrize(("shown", "seconds"), [("off", 0), ("start", 2), ("always", 3)])
def test_it_is_seen_from_the_first_frame_on(tmp_path: Path, fps: int, shown: Any, seconds: int) -> None:
    path = tmp_path / "video.mp4"
    labels = Labels(visible_label=shown)
    write(path, labels, fps=fps, frames=3 * fps)
    seen = [bool(np.ptp(frame) > 100) for frame in decoded(path)]
    last = min(3 * fps, seconds * fps + 1) if seconds else 0
    assert seen == [number < last for number in range(3 * fps)]
    noted = reading.read(path).visible_label
    assert noted == ({"text": "AI生成 AI-generated", "shown": shown} if seconds else None)


@pytest.mark.parametrize("side", [128, 256, 1024, 2048])
@pytest.mark.parametrize("text", ["zh", "en", "both", "W" * 24])
def test_it_is_large_enough_and_inside(side: int, text: str) -> None:
    labels = Labels(visible_label="always", visible_label_text=text)
    frame = Stamp(labels, width=side, height=side, fps=24).on(np.full((side, side, 3), 255, np.uint8), 0)
    plate = np.asarray((frame < 255).any(axis=2))
    rows, columns = np.flatnonzero(plate.any(axis=1)), np.flatnonzero(plate.any(axis=0))
    assert rows[-1] < side - 1 and columns[-1] < side - 1 and rows[0] > 0 and columns[0] > 0
    inside = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, 0]
    ink = np.flatnonzero((inside[:, len(inside[0]) // 8 : -len(inside[0]) // 8] > 160).any(axis=1))
    first_line = np.split(ink, np.flatnonzero(np.diff(ink) > 1) + 1)[0]
    assert len(first_line) >= 0.05 * side


@pytest.mark.parametrize("corner", ["top-left", "top-right", "bottom-left", "bottom-right"])
def test_it_stands_in_its_corner_and_the_frame_is_left_alone(corner: Any) -> None:
    labels = Labels(visible_label="always", visible_label_text="zh", visible_label_corner=corner)
    frame = np.full((192, 256, 3), 90, np.uint8)
    drawn = Stamp(labels, width=256, height=192, fps=24).on(frame, 0)
    assert (frame == 90).all()
    rows, columns = np.nonzero((drawn != 90).any(axis=2))
    assert ("top" in corner) == (rows.max() < 96) and ("left" in corner) == (columns.max() < 128)


@pytest.mark.parametrize("ground", ["light", "dark", "busy"])
@pytest.mark.parametrize("side", [128, 256, 1024])
def test_it_is_legible_over_any_picture(tmp_path: Path, ground: str, side: int) -> None:
    """After the encoder too: what is ink over black is at least 3 times as bright as what is plate."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels = {"light": 255, "dark": 0, "busy": noise}[ground]
    labels = Labels(visible_label="always", visible_label_text="zh")
    stamp = Stamp(labels, width=side, height=side, fps=24)
    ink = stamp.on(np.zeros((side, side, 3), np.uint8), 0)[..., 0]
    over_white = stamp.on(np.full((side, side, 3), 255, np.uint8), 0)[..., 0]
    write(tmp_path / "video.mp4", labels, side=side, pixels=pixels, frames=2)
    light = decoded(tmp_path / "video.mp4")[0].astype(float).mean(axis=2)
    letters, plate = light[ink > 250], light[(ink == 0) & (over_white < 100)]
    assert np.percentile(letters, 25) > 200 and np.percentile(plate, 90) < 110
    assert ((letters.mean() / 255) ** 2.2 + 0.05) / ((plate.mean() / 255) ** 2.2 + 0.05) > 4.5


def test_the_font_has_every_glyph_that_a_text_may_use() -> None:
    font = ImageFont.truetype(FONT, 40)
    missing = bytes(font.getmask("\uffff"))
    assert [letter for letter in GLYPHS.strip() if bytes(font.getmask(letter)) == missing] == []
    assert "SIL OPEN FONT LICENSE" in (FONT.parent / "LICENSE").read_text()
