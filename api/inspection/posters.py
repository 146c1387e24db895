"""Posters: one picture of each finished video."""

from contextlib import suppress

from api.errors import TaskNotFound
from api.storage.files import RenderFiles


def poster_of(files: RenderFiles, render_id: str) -> bytes:
    """Return a frame of the video as a JPEG. Blocking. Raises `TaskNotFound` if the video is gone."""
    if kept := files.load(render_id, "poster"):
        return kept
    from dice_talk.video import poster  # posters are rare, and the service starts sooner without codecs

    try:
        with files.paths(render_id) as paths:
            picture = poster(paths.video)
    except FileNotFoundError:
        raise TaskNotFound from None
    with suppress(OSError):  # no room, or removed meanwhile: the next request makes it again
        files.keep(render_id, "poster", picture)
    return picture
