"""Draws the pictures and the clip of docs/lite.md and the README anew, from the example portrait (NASA, public domain).

python -m benchmarks.pictures
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.sheet import contact_sheet
from dice_talk.audio import load_speech
from dice_talk.emotions import Emotion
from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.engine import LiteEngine, listen, prepare
from dice_talk.lite.fields import SKIN
from dice_talk.lite.head import HEAD
from dice_talk.lite.lids import draw_eye, place_lids
from dice_talk.lite.models import load_face_models
from dice_talk.lite.mouth import draw_mouth
from dice_talk.lite.performance import perform
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig
from dice_talk.options import RenderOptions
from dice_talk.video import frame_count

ROOT = Path(__file__).parent.parent
PORTRAIT, SPEECH = ROOT / "examples" / "portrait.jpg", ROOT / "examples" / "speech.wav"
OUT = ROOT / "docs" / "images"

_CELL = 256
_CLIP_EMOTIONS = (Emotion.HAPPY, Emotion.SAD, Emotion.ANGRY, Emotion.SURPRISED)
_CLIP_S, _CLIP_FPS, _CLIP_CELL = 4.0, 20, 224
_CLIP_QUALITY = 65
"""WebP quality. GitHub shows WebP in place, as it does GIF, without the limit of 256 colours; about 1 MB."""
_GAPS = (0.0, 0.012, 0.025, 0.04, 0.055, 0.075)
_SHUTS = (0.0, 0.3, 0.55, 0.8, 0.95, 1.0)
_CURVES = (at.INNER_LIP_UPPER, at.INNER_LIP_LOWER, at.OUTER_LIP_UPPER, at.OUTER_LIP_LOWER)
_EYE_CURVES = (at.LEFT_EYE_UPPER, at.LEFT_EYE_LOWER, at.RIGHT_EYE_UPPER, at.RIGHT_EYE_LOWER)


def emotions(engine: LiteEngine) -> Image.Image:
    """Draw the eight emotions in two rows, with their names."""
    row = np.asarray(contact_sheet(engine, [PORTRAIT], SPEECH, cell=_CELL, expand_ratio=0.3))
    sheet = Image.fromarray(np.vstack(np.split(row, 2, axis=1)))
    for i, emotion in enumerate(Emotion):
        _name(sheet, emotion, i % 4 * _CELL, (i // 4 + 1) * _CELL)
    return sheet


def clip(engine: LiteEngine) -> list[Image.Image]:
    """Draw four emotions side by side that say the same. Without sound, which pages do not play for pictures."""
    options = [
        RenderOptions(emotion=emotion, seed=3, fps=_CLIP_FPS, crop=True, expand_ratio=0.3) for emotion in _CLIP_EMOTIONS
    ]
    speaking = listen(load_speech(SPEECH, _CLIP_S), lambda _: None)
    rig = prepare(engine.models, PORTRAIT, options[0])
    count = frame_count(_CLIP_S, _CLIP_FPS)
    moments = zip(*(frames(rig, perform(rig, speaking, count, each)) for each in options), strict=True)
    return [_beside(moment) for moment in moments]


def _beside(moment: tuple[Pixels, ...]) -> Image.Image:
    strip = _strip(list(moment), _CLIP_CELL)
    for i, emotion in enumerate(_CLIP_EMOTIONS):
        _name(strip, emotion, i * _CLIP_CELL, strip.height)
    return strip


def _name(sheet: Image.Image, emotion: Emotion, left: int, bottom: int) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((left + 8, bottom - 24), emotion.value, "white", stroke_width=2, stroke_fill="black", font_size=15)


def method(rig: Rig) -> Image.Image:
    """Draw the landmarks, what follows the head, and where the skin goes when the jaw drops and the corners rise."""
    canvas = rig.canvas.pixels
    pictures = [canvas, _landmarks(rig), _weights(rig), _arrows(rig)]
    x, y = rig.canvas.points[at.NOSE_TIP]
    side, up, down = (int(share * rig.canvas.unit) for share in (0.7, 0.95, 0.75))
    return _strip([picture[int(y) - up : int(y) + down, int(x) - side : int(x) + side] for picture in pictures], 320)


def _landmarks(rig: Rig) -> Pixels:
    drawn = rig.canvas.pixels.copy()
    for point in rig.canvas.points[:468]:
        cv2.circle(drawn, _at(point), 2, (255, 255, 255), -1, cv2.LINE_AA)
    for indices, colour in [(c, (255, 60, 60)) for c in _CURVES] + [(c, (60, 160, 255)) for c in _EYE_CURVES]:
        cv2.polylines(drawn, [rig.canvas.points[[*indices]].round().astype(np.int32)], False, colour, 3, cv2.LINE_AA)
    return drawn


def _weights(rig: Rig) -> Pixels:
    height, width = rig.canvas.pixels.shape[:2]
    grey = cv2.cvtColor(cv2.cvtColor(rig.canvas.pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    shift = _onto_canvas(rig, rig.head[HEAD.index("shift_y"), ..., 1] * rig.grid.step / rig.canvas.unit)
    weight = cv2.resize(shift, (width, height))[..., None]
    tint = np.array([255, 120, 0], np.float32)
    return (grey * (1 - 0.55 * weight) + tint * 0.55 * weight).astype(np.uint8)


def _onto_canvas(rig: Rig, at_nodes: np.ndarray) -> np.ndarray:
    """Return values at the video's nodes as seen from the canvas, at a quarter of its size."""
    height, width = (side // 4 for side in rig.canvas.pixels.shape[:2])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) * 4
    nodes = (rig.nodes + rig.skin_origin) * rig.grid.step
    axes = np.array([nodes[0, 1] - nodes[0, 0], nodes[1, 0] - nodes[0, 0]])
    where = (np.stack([x, y], axis=-1) - nodes[0, 0]) @ np.linalg.inv(axes)
    return cv2.remap(at_nodes, where.astype(np.float32), None, cv2.INTER_LINEAR)


def _arrows(rig: Rig) -> Pixels:
    drawn = rig.canvas.pixels.copy()
    amounts = {"jaw": 0.06, "corner_up_left": 0.04, "corner_up_right": 0.04, "corner_out_left": 0.03}
    amounts |= {"corner_out_right": 0.03, "brow_inner": 0.04, "brow_outer_left": 0.04, "brow_outer_right": 0.04}
    field = rig.grid.step * sum(amount * rig.skin[SKIN.index(name)] for name, amount in amounts.items())
    for i in range(0, field.shape[0], 4):
        for j in range(0, field.shape[1], 4):
            if np.linalg.norm(field[i, j]) > 0.008 * rig.canvas.unit:
                start = (rig.skin_origin + np.array((j, i))) * rig.grid.step
                cv2.arrowedLine(
                    drawn, _at(start), _at(start + field[i, j]), (255, 255, 0), 2, cv2.LINE_AA, tipLength=0.35
                )
    return drawn


def parts(rig: Rig) -> Image.Image:
    """Draw the mouth as it opens and the eyes as they close."""
    return Image.fromarray(np.vstack([np.asarray(_strip(_mouths(rig), 200)), np.asarray(_strip(_eyes(rig), 200))]))


def _mouths(rig: Rig) -> list[Pixels]:
    x, y = rig.canvas.points[[at.INNER_LIP_TOP, at.INNER_LIP_BOTTOM]].mean(0)

    def opened(gap: float) -> Callable[[Pixels], None]:
        return lambda canvas: draw_mouth(rig.mouth, canvas, gap, 0.3)

    return [_shot(rig, opened(gap), (x, y), (0.27, 0.21)) for gap in _GAPS]


def _eyes(rig: Rig) -> list[Pixels]:
    x, y = rig.canvas.points[[at.LEFT_EYE_OUTER, at.RIGHT_EYE_OUTER]].mean(0)

    def close(shut: float, canvas: Pixels) -> None:
        for eye in (eye for eye in rig.eyes if not eye.still):
            draw_eye(eye, place_lids(eye, shut, 0, 0), canvas, (0, 0))

    return [_shot(rig, partial(close, shut), (x, y), (0.37, 0.14)) for shut in _SHUTS]


def _shot(rig: Rig, draw: Callable[[Pixels], None], centre: tuple[float, float], reach: tuple[float, float]) -> Pixels:
    canvas = rig.canvas.pixels.copy()
    draw(canvas)
    (x, y), (wide, high) = centre, (r * rig.canvas.unit for r in reach)
    return canvas[int(y - high) : int(y + high), int(x - wide) : int(x + wide)]


def _strip(pictures: list[Pixels], width: int) -> Image.Image:
    height = round(width * pictures[0].shape[0] / pictures[0].shape[1])
    cells = [Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS) for picture in pictures]
    return Image.fromarray(np.hstack([np.asarray(cell) for cell in cells]))


def _at(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def main() -> None:
    """Write all pictures."""
    OUT.mkdir(parents=True, exist_ok=True)
    engine = LiteEngine(load_face_models())
    rig = prepare(engine.models, PORTRAIT, RenderOptions(emotion="neutral", crop=True, min_resolution=512))
    for name, picture in {"emotions": emotions(engine), "lite-method": method(rig), "lite-parts": parts(rig)}.items():
        picture.save(OUT / f"{name}.jpg", quality=86, optimize=True)
    first, *others = clip(engine)
    first.save(
        OUT / "clip.webp",
        save_all=True,
        append_images=others,
        duration=1000 // _CLIP_FPS,
        loop=0,
        quality=_CLIP_QUALITY,
        method=6,
    )


if __name__ == "__main__":
    main()
