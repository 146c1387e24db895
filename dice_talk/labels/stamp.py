"""The visible label: light text on a dark plate, in a corner of each frame."""

from functools import cache
from math import ceil, floor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dice_talk.image import Pixels
from dice_talk.labels import Labels

FONT = Path(__file__).parent / "font" / "NotoSansCJKsc-Bold-subset.otf"
SECONDS = 2.0
"""Seconds for which the label is shown if it is shown at the start only."""
HEIGHT_SHARE = 0.055
"""Height of a capital as a share of the frame's shorter side. Capitals are the lowest letters that count; the standard
requires 0.05.
"""
MIN_HEIGHT = 11
"""Pixels; Chinese characters would not be legible below that."""
MARGIN, PADDING, GAP = 0.6, 0.55, 0.45
"""Space around the plate, around the text and between lines, as shares of the height of a capital."""
OPACITY = 0.7
"""Opacity of the plate. Over white, the text still has a contrast of 8 to 1."""


class Stamp:
    """Draws the label of one video into its frames."""

    def __init__(self, labels: Labels, *, width: int, height: int, fps: int) -> None:
        """Prepare the label for frames of this size."""
        words = labels.words or ""
        self._frames = _frames(labels, fps)  # None means all of them
        if self._frames == 0:
            return
        capital = max(MIN_HEIGHT, ceil(HEIGHT_SHARE * min(width, height)))
        margin = round(MARGIN * capital)
        ink, plate = (part[:height, :width] for part in _drawn(words, capital, width - 2 * margin))
        rows, columns = plate.shape
        vertical, _, horizontal = labels.visible_label_corner.partition("-")
        top = min(margin, height - rows) if vertical == "top" else max(0, height - margin - rows)
        left = min(margin, width - columns) if horizontal == "left" else max(0, width - margin - columns)
        self._area = slice(top, top + rows), slice(left, left + columns)
        keep = (1 - plate * OPACITY) * (1 - ink)
        self._keep, self._light = (
            np.repeat(np.round(share * scale).astype(np.uint16)[..., None], 3, axis=2)  # broadcasting would be slow
            for share, scale in ((keep, 256), (ink, 255))
        )

    def on(self, frame: Pixels, number: int) -> Pixels:
        """Return frame `number` (from 0) with the label. Copies the frame if there is something to draw."""
        if self._frames is not None and number >= self._frames:
            return frame
        labelled = frame.copy()
        area = labelled[self._area]
        mixed = area * self._keep
        mixed >>= 8
        mixed += self._light
        np.minimum(mixed, 255, out=area, casting="unsafe")
        return labelled


def _frames(labels: Labels, fps: int) -> int | None:
    """Return the number of labelled frames, including the one shown at two seconds, or None for all."""
    return {"off": 0, "start": floor(SECONDS * fps) + 1, "always": None}[labels.visible_label]


def _drawn(words: str, capital: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ink and plate, each (rows, columns) in [0, 1]. Lines are broken at `width` pixels."""
    font, padding = _font(capital), round(PADDING * capital)
    lines = _lines(words, font, width - 2 * padding)
    boxes = [font.getbbox(line, anchor="ls") for line in lines]
    above, below = -min(box[1] for box in boxes), max(box[3] for box in boxes)
    pitch = above + below + round(GAP * capital)
    columns = ceil(max(box[2] for box in boxes)) + 2 * padding
    rows = ceil(pitch * (len(lines) - 1) + above + below) + 2 * padding
    ink, plate = Image.new("L", (columns, rows)), Image.new("L", (columns, rows))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, columns - 1, rows - 1), radius=padding, fill=255)
    draw = ImageDraw.Draw(ink)
    for number, line in enumerate(lines):
        draw.text((padding, padding + above + number * pitch), line, fill=255, font=font, anchor="ls")
    return np.asarray(ink) / np.float32(255), np.asarray(plate) / np.float32(255)


@cache
def _font(capital: int) -> ImageFont.FreeTypeFont:
    """Return the font in the smallest size in which a capital has this height in pixels."""
    size = capital
    while -_face(size).getbbox("A", anchor="ls")[1] < capital:
        size += 1
    return _face(size)


def _face(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _lines(words: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break `words` into lines at spaces, and within a word only if it is too long for a line."""
    lines: list[str] = []
    for word in words.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
