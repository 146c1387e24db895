"""Finds the labels of a video in a separate process: `python -m dice_talk.verify VIDEO`. Prints one JSON line."""

import sys
from dataclasses import asdict
from pathlib import Path

from dice_talk import priority
from dice_talk.child import confine, say
from dice_talk.errors import DiceTalkError
from dice_talk.labels import reading


def main() -> None:
    """Entry point. The exit code is 0 even if the file is rejected."""
    confine()
    priority.lower_priority(priority.INTAKE)
    try:
        say(labels=asdict(reading.read(Path(sys.argv[1]))))
    except DiceTalkError as error:
        say(**error.facts())


if __name__ == "__main__":
    main()
