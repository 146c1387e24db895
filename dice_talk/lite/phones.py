"""Recognises speech sounds and their times with pocketsphinx (English model, used for any language)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dice_talk.audio import SAMPLE_RATE, Samples
from dice_talk.lite.arrays import RATE

try:
    from pocketsphinx import Decoder, get_model_path
except ImportError:  # there is no wheel for this Python: load the same library in another way
    from dice_talk.lite.sphinx import Decoder, get_model_path

_CHUNK_S = (8.0, 14.0)
"""Seconds; a long recording is cut at the quietest moment between these."""
_LANGUAGE_WEIGHT = 2.0
"""Low, because the sound itself counts and not which English sound tends to follow which."""
_BEAM = 1e-30
"""Wide, because with narrower beams the search fails on foreign speech and recognises nothing for the rest of the
chunk.
"""


@dataclass(frozen=True)
class Phone:
    """A sound of ARPAbet ("AA", "SIL", ...) from `start` to `stop` in seconds."""

    name: str
    start: float
    stop: float


def recognise(samples: Samples, heard: Callable[[float], None]) -> list[Phone]:
    """Return the sounds in mono speech at 16 kHz. Calls `heard(share)` after each chunk, with a share in [0, 1]."""
    phones: list[Phone] = []
    for start, stop in _chunks(samples):
        phones += _recognise(samples[start:stop], start / SAMPLE_RATE)
        heard(stop / len(samples))
    return phones


def _recognise(samples: Samples, offset: float) -> Iterator[Phone]:
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw((samples * 32767).astype("<i2").tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()
    for segment in decoder.seg() or ():
        name = segment.word.strip("+<>").upper()
        yield Phone(name, offset + segment.start_frame / RATE, offset + (segment.end_frame + 1) / RATE)


def _decoder() -> Decoder:
    """Return a new decoder for each chunk: it adapts to its input, but the same speech must give the same video."""
    return Decoder(
        hmm=get_model_path("en-us/en-us"),
        allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        lm=None,
        dict=None,
        lw=_LANGUAGE_WEIGHT,
        beam=_BEAM,
        pbeam=_BEAM,
        loglevel="FATAL",
    )


def _chunks(samples: Samples) -> Iterator[tuple[int, int]]:
    start = 0
    shortest, longest = (round(s * SAMPLE_RATE) for s in _CHUNK_S)
    while len(samples) - start > longest:
        stop = start + shortest + _quietest(samples[start + shortest : start + longest])
        yield start, stop
        start = stop
    yield start, len(samples)


def _quietest(samples: Samples) -> int:
    """Return the middle of the quietest 0.1 s."""
    block = SAMPLE_RATE // 10
    energy = (samples[: len(samples) // block * block].reshape(-1, block) ** 2).sum(axis=1)
    return int(np.argmin(energy)) * block + block // 2
