"""Draws the page's sample portraits anew, from `benchmarks/portraits/`, and the clip that its empty stage plays.

python -m benchmarks.samples
"""

import os
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.pictures import SPEECH
from dice_talk.audio import load_speech
from dice_talk.lite.engine import listen, prepare
from dice_talk.lite.models import load_face_models
from dice_talk.lite.performance import perform
from dice_talk.lite.render import frames
from dice_talk.options import RenderOptions
from dice_talk.video import VideoWriter

SOURCES = Path(__file__).parent / "portraits"
OUT = Path(__file__).parent.parent / "api" / "web" / "sample"

_SIDE, _QUALITY = 640, 86
_CLIP_SIDE, _FPS, _EACH_S = 448, 20, 1.6
_SCENES = (
    ("collins", "happy"),
    ("mei", "surprised"),
    ("henrik", "angry"),
    ("amara", "happy"),
    ("rosa", "sad"),
    ("collins", "contempt"),
)


def draw() -> None:
    """Write each drawing as a JPEG."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _SIDE, "height": _SIDE})
        for source in sorted(SOURCES.glob("*.svg")):
            page.set_content(f"<body style='margin: 0'>{source.read_text()}</body>")
            page.screenshot(path=str(OUT / f"{source.stem}.jpg"), type="jpeg", quality=_QUALITY)
        browser.close()


def clip() -> None:
    """Write the clip, which has no sound, and its first picture."""
    models, count = load_face_models(), round(_EACH_S * _FPS)
    speaking = listen(load_speech(SPEECH, len(_SCENES) * _EACH_S), lambda _: None)
    whole = len(_SCENES) * count
    silence = np.zeros((1, 1), np.float32)
    made = {"engine": "lite", "seed": 3}
    with VideoWriter(
        OUT / "clip.mp4",
        width=_CLIP_SIDE,
        height=_CLIP_SIDE,
        fps=_FPS,
        frames=whole,
        sound=silence,
        rate=48_000,
        metadata=made,
    ) as writer:
        for i, (name, emotion) in enumerate(_SCENES):
            options = RenderOptions(emotion=emotion, seed=3, fps=_FPS, min_resolution=_CLIP_SIDE)
            rig = prepare(models, OUT / f"{name}.jpg", options)
            scene = islice(frames(rig, perform(rig, speaking, whole, options)), i * count, (i + 1) * count)
            for j, picture in enumerate(scene):
                if (i, j) == (0, count // 2):
                    Image.fromarray(picture).save(OUT / "clip.jpg", quality=80, optimize=True)
                writer.write(picture)


def main() -> None:
    """Write everything."""
    draw()
    clip()


if __name__ == "__main__":
    main()
