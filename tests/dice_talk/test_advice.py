from dice_talk.advice import Advice
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage


def test_what_makes_rendering_fail_is_blocking_and_says_what_to_do() -> None:
    advice = Advice.of(
        "too_small",
        InvalidImage(
            ErrorCode.IMAGE_TOO_SMALL,
            "The image is too small: {width} x {height}",
            "Send a larger one.",
            width=9,
            height=9,
        ),
    )
    assert advice == Advice("too_small", "The image is too small: 9 x 9. Send a larger one.", blocking=True)


def test_advice_blocks_nothing_by_itself() -> None:
    assert not Advice("dark_face", "The face is dark.").blocking
