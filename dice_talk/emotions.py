"""The eight emotions that DICE-Talk is trained on, in the order of its API document."""

from enum import StrEnum


class Emotion(StrEnum):
    """Value: the name used by clients and by the emotion priors' file names."""

    CONTEMPT = "contempt"
    SAD = "sad"
    HAPPY = "happy"
    SURPRISED = "surprised"
    ANGRY = "angry"
    DISGUSTED = "disgusted"
    FEAR = "fear"
    NEUTRAL = "neutral"
