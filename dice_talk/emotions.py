"""The eight emotions that DICE-Talk is trained on, in the order of its API document."""

from enum import StrEnum


class Emotion(StrEnum):
    """The value is the name that clients use, and part of the emotion priors' file names."""

    CONTEMPT = "contempt"
    SAD = "sad"
    HAPPY = "happy"
    SURPRISED = "surprised"
    ANGRY = "angry"
    DISGUSTED = "disgusted"
    FEAR = "fear"
    NEUTRAL = "neutral"
