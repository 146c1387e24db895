"""Checks a portrait and a recording in a process of its own: `python -m dice_talk.intake IMAGE AUDIO SECONDS [USED]`.

Uploads are hostile until proven otherwise, so whatever decodes them for the first time may run out of memory, hang or
crash without harm. Of the recording the first SECONDS are read; a video will use the first USED of them, else all. One
JSON line per file goes to standard output, the image's first, and ends at the first refusal; then one with warnings,
where there are any.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

from dice_talk import priority
from dice_talk.audio import load_speech
from dice_talk.child import confine, say
from dice_talk.errors import DiceTalkError
from dice_talk.image import load_portrait
from dice_talk.speech_check import SILENT, is_silent


def main() -> None:
    """Entry point; exit code 0 also when a file is refused."""
    image, audio = Path(sys.argv[1]), Path(sys.argv[2])
    seconds, used = float(sys.argv[3]), float(sys.argv[-1])
    confine()
    priority.lower_priority(priority.INTAKE)
    try:
        height, width, _ = load_portrait(image).shape
        say(width=width, height=height)
        speech = load_speech(audio, seconds)
        say(seconds=speech.seconds)
        heard = replace(speech, original=speech.original[: max(1, round(used * speech.rate))])
        if is_silent(heard):
            say(warnings=[asdict(SILENT)])
    except DiceTalkError as error:
        say(error=str(error), detail=error.detail)


if __name__ == "__main__":
    main()
