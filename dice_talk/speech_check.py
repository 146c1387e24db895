"""Checks a recording: length, level, clipping, silence, background.

Thresholds lie between good recordings (human and synthetic speech, women and men) and the same ones made worse step by
step; `tests/dice_talk/test_speech_check.py` holds both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dice_talk.advice import Advice
from dice_talk.audio import Recording, Samples, Speech

Levels = NDArray[np.float64]

WINDOW_S = 0.03
"""A syllable is several times as long, a pitch period several times shorter."""
FLOOR_DBFS = -100.0
"""The level of digital silence, whose logarithm is infinite."""
SPEECH_PERCENTILE = 95
NOISE_PERCENTILE = 5
"""Percentile of the windows' levels. In fluent speech, a tenth of them are pauses."""
PAUSE_DB = 35.0
"""Distance in dB below the loud syllables. The weakest consonants lie about 30 dB below them."""
FULL_SCALE, CLIPPED_RUN = 0.985, 3
"""Samples in a row at full scale: a single one may be a peak that just fits. 8-bit files end at 0.992."""

SILENT_DBFS, QUIET_DBFS = -60.0, -38.0
"""Levels of the loud syllables. Good recordings lie between -16 and -23."""
CLIPPED_SHARE = 0.001
"""Share of clipped samples from which clipping is audible."""
MOSTLY_SILENT = 0.6
SHORT_S = 1.0
NOISY_DB = 17.0
"""Distance in dB between loud syllables and pauses. Good recordings have 26 or more. Music with gaps is not noticed."""
NOISE_JUDGED_S = 2.0
"""A shorter recording may have no pause."""

SILENT = Advice("silent_audio", "The recording is silent: the mouth will stay shut. Check the microphone.")
"""Also given for accepted files: a silent video is possible, but hardly ever intended."""


@dataclass(frozen=True)
class SpeechFacts:
    """What was measured. Levels are in dB below full scale, shares in [0, 1]."""

    seconds: float  # of the file
    used_seconds: float
    sample_rate: int
    channels: int
    level_dbfs: float  # of the loud syllables
    peak_dbfs: float
    clipped_share: float
    silent_share: float
    background_db: float  # how far the quietest moments lie below the loud syllables


def check_speech(recording: Recording, speech: Speech) -> SpeechFacts:
    """Measure a recording. `speech`: as much of it as the video will use."""
    levels = window_levels(speech.original, speech.rate)
    loud = _loud(levels)
    silent = levels < max(loud - PAUSE_DB, SILENT_DBFS)
    return SpeechFacts(
        seconds=recording.seconds,
        used_seconds=speech.seconds,
        sample_rate=recording.rate,
        channels=recording.channels,
        level_dbfs=loud,
        peak_dbfs=_decibels(float(np.abs(speech.original).max())),
        clipped_share=_clipped_share(speech.original),
        silent_share=float(silent.mean()),
        background_db=loud - float(np.percentile(levels, NOISE_PERCENTILE)),
    )


def is_silent(speech: Speech) -> bool:
    """Whether there is nothing that could move the lips."""
    return _loud(window_levels(speech.original, speech.rate)) < SILENT_DBFS


def _loud(levels: Levels) -> float:
    return float(np.percentile(levels, SPEECH_PERCENTILE))


def window_levels(samples: Samples, rate: int) -> Levels:
    """Return the RMS in dBFS of each window of `(n, channels)`, in its loudest channel: `(N,)`."""
    size = max(1, round(WINDOW_S * rate))
    edges = np.arange(0, len(samples), size)
    energy = np.stack([np.add.reduceat(np.square(one, dtype=np.float64), edges) for one in samples.T]).max(axis=0)
    rms = np.sqrt(energy / np.diff(np.append(edges, len(samples))))
    levels: Levels = 20 * np.log10(np.maximum(rms, 10 ** (FLOOR_DBFS / 20)))
    return levels


def _decibels(amplitude: float) -> float:
    return 20 * float(np.log10(max(amplitude, 10 ** (FLOOR_DBFS / 20))))


def _clipped_share(samples: Samples) -> float:
    """Return the share of samples in runs at full scale, of the channel with the most."""
    return max(_clipped(one) for one in samples.T) / len(samples)


def _clipped(channel: Samples) -> int:
    changes = np.flatnonzero(np.diff(np.concatenate(([0], np.abs(channel) >= FULL_SCALE, [0])).astype(np.int8)))
    runs = changes[1::2] - changes[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def advise(facts: SpeechFacts, limit: float) -> list[Advice]:
    """Return advice on a recording. `limit`: the most seconds that are ever used."""
    found = [*_advise_on_length(facts, limit)]
    if facts.level_dbfs < SILENT_DBFS:
        return [*found, SILENT]
    return [*found, *_advise_on_level(facts), *_advise_on_content(facts)]


def _advise_on_length(facts: SpeechFacts, limit: float) -> Iterator[Advice]:
    if facts.seconds > limit:
        yield Advice(
            "long_audio",
            f"The recording lasts {_clock(facts.seconds)}; only its first {_clock(limit)} are used. Cut it into parts.",
        )
    if facts.used_seconds < SHORT_S:
        yield Advice(
            "short_audio",
            f"Only {facts.used_seconds:.1f} seconds of sound are used: hardly a word. Send a longer recording.",
        )


def _advise_on_content(facts: SpeechFacts) -> Iterator[Advice]:
    if facts.silent_share > MOSTLY_SILENT:
        yield Advice(
            "mostly_silence",
            f"{facts.silent_share:.0%} of the recording is silence, in which the mouth stays shut. Cut out what is not "
            "speech.",
        )
    if facts.background_db < NOISY_DB and facts.used_seconds >= NOISE_JUDGED_S:
        yield Advice(
            "background_noise",
            f"Even in its quietest moments the recording is only {facts.background_db:.0f} dB below the speech: noise "
            "or music may move the lips. Send the voice alone.",
        )


def _advise_on_level(facts: SpeechFacts) -> Iterator[Advice]:
    if facts.level_dbfs < QUIET_DBFS:
        yield Advice(
            "quiet_audio",
            f"The speech is very quiet ({facts.level_dbfs:.0f} dBFS; -20 is usual). Record closer to the microphone or "
            "raise the volume.",
        )
    if facts.clipped_share > CLIPPED_SHARE:
        yield Advice(
            "clipped_audio",
            f"The recording is overdriven: {facts.clipped_share:.1%} of it is cut off at the loudest level there is. "
            "Record it again with less gain; lowering the volume afterwards does not help.",
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} seconds"
    if rest:
        return f"{minutes} min {rest} s"
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
