"""The contact sheet: one row per portrait, one column per emotion, all at the same moment of the same speech."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dice_talk.audio import load_speech
from dice_talk.emotions import Emotion
from dice_talk.image import Pixels
from dice_talk.lite.engine import LiteEngine, listen, prepare
from dice_talk.lite.performance import Performance, perform
from dice_talk.lite.render import frames
from dice_talk.options import RenderOptions

_FPS, _CELL, _SIZE = 25, 224, 512
_AFTER_S = 1.5
"""By then the emotion is there in full."""


def contact_sheet(
    engine: LiteEngine, portraits: Sequence[Path], speech: Path, cell: int = _CELL, expand_ratio: float = 0.5
) -> Image.Image:
    """Draw the sheet, with cells of `cell` pixels in the order of `Emotion`."""
    speaking = listen(load_speech(speech, 10), lambda _: None)
    rows = []
    for portrait in portraits:
        crop = RenderOptions(emotion="neutral", crop=True, min_resolution=_SIZE, expand_ratio=expand_ratio)
        rig = prepare(engine.models, portrait, crop)
        cells = []
        for emotion in Emotion:
            options = RenderOptions(emotion=emotion, seed=3, fps=_FPS)
            whole = perform(rig, speaking, int(len(speaking.gap) / 100 * _FPS), options)
            picture = next(frames(rig, only(whole, _moment(speaking.gap))))
            cells.append(_cell(picture, cell))
        rows.append(np.hstack(cells))
    return Image.fromarray(np.vstack(rows))


def only(performance: Performance, frame: int) -> Performance:
    """Return a performance of one frame, with open eyes."""
    arrays = {f.name: getattr(performance, f.name) for f in fields(performance)}
    one: dict[str, Any] = {
        name: track[frame : frame + 1]
        for name, track in arrays.items()
        if isinstance(track, np.ndarray) and name != "folds"
    }
    return replace(performance, **one | {"shut": np.zeros(1, np.float32)})


def _moment(gap: np.ndarray) -> int:
    """Return a frame in the middle of a half-open syllable."""
    later = gap[int(_AFTER_S * 100) :]
    wanted = 0.45 * float(later.max())
    return int((int(_AFTER_S * 100) + int(np.argmin(np.abs(later - wanted)))) / 100 * _FPS)


def _cell(picture: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
