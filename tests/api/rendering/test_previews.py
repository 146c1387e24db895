"""The latest picture of each render, and no other."""

from api.rendering.previews import Previews
from dice_talk.engine import Progress


def note(previews: Previews, render_id: str, step: int, preview: bytes | None) -> None:
    previews.note(render_id, Progress("denoise", "...", 0.5, step, 8, preview))


def test_the_latest_one_is_kept() -> None:
    previews = Previews()
    assert previews.latest("a") is None
    note(previews, "a", 1, b"first")
    note(previews, "b", 1, b"other")
    note(previews, "a", 2, b"second")
    note(previews, "a", 3, None)
    latest, other = previews.latest("a"), previews.latest("b")
    assert latest and other
    assert (latest.jpeg, latest.step, latest.steps) == (b"second", 2, 8)
    assert latest.number > other.number


def test_it_is_forgotten_with_the_render() -> None:
    previews = Previews()
    note(previews, "a", 1, b"first")
    previews.forget("a")
    previews.forget("a")
    assert previews.latest("a") is None
