"""What benchmarks render when they are given nothing else."""

from pathlib import Path

import soundfile

from dice_talk.audio import SAMPLE_RATE, load_speech

EXAMPLES = Path(__file__).parents[1] / "examples"
PORTRAIT, SPEECH = EXAMPLES / "portrait.jpg", EXAMPLES / "speech.wav"


def recording(folder: Path, seconds: float) -> Path:
    """Repeat the example's speech for `seconds`, at 16 kHz. It is written piece by piece, to take no memory."""
    samples, left = load_speech(SPEECH, seconds).samples, int(seconds * SAMPLE_RATE)
    with soundfile.SoundFile(folder / "speech.wav", "w", SAMPLE_RATE, 1) as file:
        while left:
            file.write(samples[:left])
            left -= len(samples[:left])
    return folder / "speech.wav"
