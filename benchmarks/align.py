"""Where p, b and m truly are: forced alignment of a known English text, a stricter judge than the engine's own ears."""

from pathlib import Path

from pocketsphinx import Decoder

from dice_talk.audio import load_speech

_BILABIALS = ("P", "B", "M")
_RATE = 100


def bilabials(speech: Path) -> list[float]:
    """Return the middles of p, b and m in seconds; empty for a recording without its words in a .txt beside it."""
    transcript = speech.with_suffix(".txt")
    if not transcript.exists():
        return []
    sound = (load_speech(speech, 300).samples * 32767).astype("<i2").tobytes()
    decoder = Decoder(lm=None, loglevel="FATAL")
    decoder.set_align_text(transcript.read_text().strip().lower())
    for phones in (False, True):
        if phones:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(sound, no_search=False, full_utt=True)
        decoder.end_utt()
    found = [phone for word in decoder.get_alignment() for phone in word if phone.name in _BILABIALS]
    return [(phone.start + phone.duration / 2) / _RATE for phone in found]
