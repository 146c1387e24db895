"""Describes the files of a finished render: `python -m dice_talk.digest IMAGE AUDIO VIDEO`.

Prints one JSON line for each file with its hash and size, and the video's labels with the last.
"""

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

from dice_talk import priority
from dice_talk.audio import describe
from dice_talk.child import confine, report_missing_files, say
from dice_talk.image import load_portrait
from dice_talk.labels import reading


def digest(path: Path) -> dict[str, str | int]:
    """Return the SHA-256 in hex and the size in bytes."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def main() -> None:
    """Entry point."""
    image, audio, video = map(Path, sys.argv[1:])
    confine()
    priority.lower_priority(priority.INTAKE)
    with report_missing_files():
        height, width, _ = load_portrait(image).shape
        say(image={**digest(image), "width": width, "height": height})
        say(audio={**digest(audio), "seconds": round(describe(audio).seconds, 3)})
        say(video=digest(video), labels=asdict(reading.read(video)))


if __name__ == "__main__":
    main()
