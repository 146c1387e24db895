"""Takes the place of the video writer where only pictures count: at the smallest sizes x264 may change a packet."""

from pathlib import Path
from typing import Any, ClassVar

from dice_talk.image import Pixels


class Recorder:
    pictures: ClassVar[dict[str, list[Pixels]]] = {}
    """What was written last, by the file's name without its suffix."""

    def __init__(self, path: Path, **_promised: Any) -> None:
        self.written = self.pictures[path.stem] = []

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def write(self, frame: Pixels) -> None:
        self.written.append(frame)
