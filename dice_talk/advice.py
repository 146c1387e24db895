"""What a person can do for a better video, found before anything is rendered."""

from dataclasses import dataclass

from dice_talk.errors import DiceTalkError


@dataclass(frozen=True)
class Advice:
    """One thing that could be better."""

    code: str  # for programs; stays what it is
    message: str  # for people: what was seen, and what to do
    blocking: bool = False  # whether rendering would fail

    @classmethod
    def of(cls, code: str, error: DiceTalkError) -> "Advice":
        """What would make rendering fail."""
        return cls(code, f"{error}. {error.detail}", blocking=True)
