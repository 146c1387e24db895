"""Checks a portrait and a recording without rendering: `python -m dice_talk.preflight`.

As a process: `python -m dice_talk.preflight ENGINE OPTIONS IMAGE AUDIO`, with OPTIONS as JSON and - for a missing file.
It prints one JSON line per file, the image's first, and ends at the first refusal. The files may be hostile: see
`dice_talk.intake`.
"""

import base64
import io
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from dice_talk import priority
from dice_talk.advice import Advice
from dice_talk.audio import describe, load_speech
from dice_talk.child import confine, say
from dice_talk.engine import FOREIGN_ERRORS, EngineSpec, resolve
from dice_talk.engines import BUILT_IN, spec_of
from dice_talk.errors import DiceTalkError, no_memory
from dice_talk.face import Box
from dice_talk.image import Pixels, load_portrait
from dice_talk.options import MAX_DURATION_S, RenderOptions
from dice_talk.portrait_check import PortraitFacts, check_faces
from dice_talk.speech_check import advise, check_speech

log = logging.getLogger(__name__)

OVERLAY_SIDE = 640
"""Longer side in pixels: enough to tell faces apart, and about 60 KB."""
OVERLAY_QUALITY = 80
CHOSEN, OTHER, CROP = "#22dd55", "#ffcc00", "#ffffff"

Found = dict[str, Any]


def look_at(image: Path, options: RenderOptions, engine: str) -> Found:
    """Return what a portrait holds, ready for JSON. `engine`: its name. Raises `InvalidImage`."""
    picture = load_portrait(image)
    facts, advice = _check(picture, options, spec_of(engine))
    return {
        "width": facts.width,
        "height": facts.height,
        "faces": [{"index": index, **_rectangle(face)} for index, face in enumerate(facts.faces)],
        "crop": _rectangle(facts.crop) if facts.crop else None,
        "output": {"width": facts.output[0], "height": facts.output[1]} if facts.output else None,
        "overlay": "data:image/jpeg;base64," + base64.b64encode(draw_overlay(picture, facts)).decode(),
        "warnings": _plain(advice),
    }


def _check(picture: Pixels, options: RenderOptions, spec: EngineSpec) -> tuple[PortraitFacts, Sequence[Advice]]:
    """Check a portrait as its engine does, or in the usual way if the engine's own check does not work."""
    try:
        facts, advice = resolve(spec.portrait_check)(picture, options)
        if not isinstance(facts, PortraitFacts) or not all(isinstance(one, Advice) for one in advice):
            raise TypeError("portrait_check returns something else than facts and advice")
    except FOREIGN_ERRORS as error:
        if spec in BUILT_IN or isinstance(error, DiceTalkError) or no_memory(error):
            raise
        log.exception("%s of the engine %s does not work", spec.portrait_check, spec.name)
        return check_faces(picture, options)
    return facts, advice


def listen_to(audio: Path, options: RenderOptions) -> Found:
    """Return what a recording holds, ready for JSON. Raises `InvalidAudio`."""
    speech = load_speech(audio, options.duration or MAX_DURATION_S)
    facts = check_speech(describe(audio), speech)
    return {
        "seconds": round(facts.seconds, 3),
        "used_seconds": round(facts.used_seconds, 3),
        "sample_rate": facts.sample_rate,
        "channels": facts.channels,
        "level_dbfs": round(facts.level_dbfs, 1),
        "peak_dbfs": round(facts.peak_dbfs, 1),
        "clipped_share": round(facts.clipped_share, 5),
        "silent_share": round(facts.silent_share, 3),
        "warnings": _plain(advise(facts, MAX_DURATION_S)),
    }


def draw_overlay(picture: Pixels, facts: PortraitFacts) -> bytes:
    """Return a small JPEG of the portrait with its faces boxed and numbered as in `face_index`, and the crop."""
    image = Image.fromarray(picture)
    image.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
    scale = image.width / facts.width
    pen = ImageDraw.Draw(image)
    if facts.crop:
        _draw_box(pen, facts.crop, scale, CROP)
    for index, face in enumerate(facts.faces):
        colour = CHOSEN if face is facts.chosen else OTHER
        _draw_box(pen, face, scale, colour)
        corner = face.left * scale + 4, face.top * scale + 2
        pen.text(corner, str(index), colour, stroke_width=2, stroke_fill="black", font_size=18)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=OVERLAY_QUALITY)
    return file.getvalue()


def _draw_box(pen: ImageDraw.ImageDraw, box: Box, scale: float, colour: str) -> None:
    """Draw a box on a wider dark line, so that it is visible on any background."""
    edges = box.left * scale, box.top * scale, box.right * scale - 1, box.bottom * scale - 1
    pen.rectangle(edges, outline="black", width=4)
    pen.rectangle(edges, outline=colour, width=2)


def _rectangle(box: Box) -> dict[str, int]:
    """Return a box in whole pixels."""
    left, top = round(box.left), round(box.top)
    return {"left": left, "top": top, "width": round(box.right) - left, "height": round(box.bottom) - top}


def _plain(advice: Sequence[Advice]) -> list[dict[str, Any]]:
    return [asdict(one) for one in advice]


def main() -> None:
    """Run the check. Exit code 0 even if a file is refused."""
    engine, options, image, audio = sys.argv[1:]
    confine()
    priority.lower_priority(priority.INTAKE)
    wanted = RenderOptions.model_validate_json(options)
    try:
        if image != "-":
            say(image=look_at(Path(image), wanted, engine))
        if audio != "-":
            say(audio=listen_to(Path(audio), wanted))
    except DiceTalkError as error:
        say(**error.facts())


if __name__ == "__main__":
    main()
