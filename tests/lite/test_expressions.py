from dice_talk.emotions import Emotion
from dice_talk.lite.expressions import EXPRESSIONS
from dice_talk.lite.fields import SKIN


def test_every_emotion_has_its_own_face() -> None:
    assert set(EXPRESSIONS) == set(Emotion)
    assert len({repr(expression) for expression in EXPRESSIONS.values()}) == len(Emotion)


def test_expressions_move_only_what_exists() -> None:
    assert {name for expression in EXPRESSIONS.values() for name in expression.skin} <= set(SKIN)


def test_only_contempt_is_lopsided() -> None:
    for emotion, expression in EXPRESSIONS.items():
        up = expression.skin.get("corner_up_left", 0), expression.skin.get("corner_up_right", 0)
        assert (up[0] != up[1]) == (emotion is Emotion.CONTEMPT)


def test_neutral_moves_nothing() -> None:
    assert EXPRESSIONS[Emotion.NEUTRAL].skin == {}
