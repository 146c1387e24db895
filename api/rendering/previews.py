"""The latest preview of each render in progress. In memory: if one is lost, the next one comes soon."""

from dataclasses import dataclass

from dice_talk.engine import Progress


@dataclass(frozen=True)
class Preview:
    """A picture of a video that is being rendered. `number`: rises with each picture of the server."""

    number: int
    jpeg: bytes
    step: int
    steps: int


class Previews:
    """Safe in any thread: each method is one operation on a dictionary."""

    def __init__(self) -> None:
        self._latest: dict[str, Preview] = {}
        self._count = 0

    def note(self, render_id: str, progress: Progress) -> None:
        """Keep the picture that comes with the progress, if one does."""
        if progress.preview:
            self._count += 1
            self._latest[render_id] = Preview(self._count, progress.preview, progress.step, progress.steps)

    def latest(self, render_id: str) -> Preview | None:
        """Return the latest picture of a render that runs here."""
        return self._latest.get(render_id)

    def forget(self, render_id: str) -> None:
        """Forget a render that runs no longer."""
        self._latest.pop(render_id, None)
