"""Advice for a better video, found before anything is rendered."""

from dataclasses import dataclass

from dice_talk.errors import DiceTalkError


@dataclass(frozen=True)
class Advice:
    """One thing that could be better."""

    code: str  # for programs; never changes
    message: str  # for people: what is wrong and what to do about it
    blocking: bool = False  # True if rendering would fail

    @classmethod
    def of(cls, code: str, error: DiceTalkError) -> "Advice":
        """Make blocking advice of an error that rendering would raise."""
        return cls(code, f"{error}. {error.detail}", blocking=True)
