"""Checks a portrait and a speech recording in a process of its own: `python -m dice_talk.intake IMAGE AUDIO SECONDS`.

Uploads are hostile until proven otherwise, so whatever decodes them for the first time may run out of memory, hang or
crash without harm. Of the recording the first SECONDS are read. One JSON line per file goes to standard output, the
image's first, and ends at the first refusal.
"""

import json
import resource
import sys
from contextlib import suppress
from pathlib import Path

from dice_talk import priority
from dice_talk.audio import load_speech
from dice_talk.errors import DiceTalkError
from dice_talk.image import load_portrait

MEMORY_BYTES = 4 << 30
"""Address space: the largest picture allowed takes 150 MB a copy, and libraries map far more than they use."""
CPU_SECONDS = 15
"""The largest picture decodes in 3 s here, 300 s of MP3 in less than 1 s; what takes longer was made to."""


def main() -> None:
    """Entry point; exit code 0 also when a file is refused."""
    image, audio, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    limit(resource.RLIMIT_AS, MEMORY_BYTES)
    limit(resource.RLIMIT_CPU, CPU_SECONDS)
    limit(resource.RLIMIT_CORE, 0)
    priority.give_way(priority.INTAKE)
    try:
        height, width, _ = load_portrait(image).shape
        _say(width=width, height=height)
        _say(seconds=load_speech(audio, seconds).seconds)
    except DiceTalkError as error:
        _say(error=str(error), detail=error.detail)


def limit(kind: int, value: int) -> None:
    """Lowers a limit of this process, where the system lets it: macOS knows no limit on the address space."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
