"""Checks a portrait and a recording in a separate process: `python -m dice_talk.intake IMAGE AUDIO SECONDS [USED]`.

Uploads are hostile until proven otherwise. Here a decoder may run out of memory, hang or crash without doing harm.
Reads the first SECONDS of the recording; the video will use the first USED of them (default: all). Prints one JSON line
for each file, the image first, and stops at the first error. Another line has the warnings, if there are any.
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
    """Entry point. The exit code is 0 even if a file is rejected."""
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
        say(**error.facts())


if __name__ == "__main__":
    main()
