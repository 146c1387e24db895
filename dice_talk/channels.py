"""Mixes several channels: at most two for the video, and one for speech models, in which nothing cancels."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Spectra = NDArray[np.complex128]

_HALF = 0.5**0.5
# Gain of each position in the left and the right channel: ITU-R BS.775-4, and FFmpeg's values for other positions.
_GAINS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF, _HALF),
    "LFE": (0.0, 0.0),
    "BL": (_HALF, 0.0),
    "BR": (0.0, _HALF),
    "SL": (_HALF, 0.0),
    "SR": (0.0, _HALF),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "BC": (0.5, 0.5),
}
# Positions that are assumed if the file does not state them. As FFmpeg's, except for three channels, where FFmpeg takes
# the third for a subwoofer.
_USUAL_PLACES = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}

_FRAME, _HOP = 512, 256
"""Samples at 16 kHz; a frame is 32 ms, in which speech hardly changes."""
_FRAMES_AT_ONCE = 512
_SILENT = 1e-3
"""A channel whose peak is 60 dB below the loudest one is considered silent."""
_SAME = 1e-4
"""Channels that differ by less are considered identical."""
_LEAD = 0.25
"""The leading channel sets the phase if its amplitude is at least this share of the loudest channel's."""


def downmix(sound: Samples, places: Sequence[str]) -> Samples:
    """Mix `(n, channels)` down to at most two with the standard matrix. Lowers the level only if the mix would clip.

    `places`: the position of each channel, such as "FL".
    """
    channels = sound.shape[1]
    if channels <= 2:
        return sound
    if not set(places) <= _GAINS.keys():
        places = _USUAL_PLACES.get(channels, ())
    if not places:
        mean: Samples = sound.mean(axis=1, keepdims=True, dtype=np.float32)
        return mean
    mixed: Samples = sound @ np.array([_GAINS[place] for place in places], np.float32)
    mixed /= max(1.0, float(np.abs(mixed).max(initial=0)))
    return mixed


def to_mono(sound: Samples) -> Samples:
    """Mix `(n, channels)` at 16 kHz to `(n,)` so that everything said in any channel is heard, whatever the phases.

    A single channel, or several identical ones, are returned unchanged.
    """
    peaks = np.abs(sound).max(axis=0, initial=0)
    sound = sound[:, peaks > _SILENT * peaks.max()]
    if sound.shape[1] < 2:
        only: Samples = sound.sum(axis=1, dtype=np.float32)
        return only
    if np.ptp(sound, axis=1).max() < _SAME:
        first: Samples = sound[:, 0]
        return first
    return _in_phase(sound)


def _in_phase(sound: Samples) -> Samples:
    """Mix with the loudest channel's amplitude in each band and frame, and the leading channel's phase."""
    leader = int(np.argmax(np.square(sound).sum(axis=0)))
    count = -(-len(sound) // _HOP) + 1
    padded = np.pad(sound, ((_HOP, (count + 1) * _HOP - _HOP - len(sound)), (0, 0)))
    window = np.sqrt(np.hanning(_FRAME + 1)[:-1]).astype(np.float32)
    voice = np.zeros(len(padded), np.float32)
    for start in range(0, count, _FRAMES_AT_ONCE):
        stop = min(start + _FRAMES_AT_ONCE, count)
        part = padded[start * _HOP : (stop + 1) * _HOP]
        frames = sliding_window_view(part, _FRAME, axis=0)[::_HOP] * window  # (frames, channels, samples)
        mixed = np.fft.irfft(_loudest(np.fft.rfft(frames), leader)) * window
        voice[start * _HOP : stop * _HOP] += mixed[:, :_HOP].ravel()
        voice[(start + 1) * _HOP : (stop + 1) * _HOP] += mixed[:, _HOP:].ravel()
    return voice[_HOP : _HOP + len(sound)]


def _loudest(spectra: Spectra, leader: int) -> Spectra:
    """Combine `(frames, channels, bands)` to `(frames, bands)`."""
    amplitudes = np.abs(spectra)
    chosen = amplitudes.argmax(axis=1, keepdims=True)
    loudest = np.take_along_axis(spectra, chosen, axis=1)[:, 0]
    loud, lead = np.abs(loudest), amplitudes[:, leader]
    leads = lead >= np.maximum(_LEAD * loud, np.finfo(np.float32).tiny)
    mixed: Spectra = np.where(leads, spectra[:, leader] * (loud / np.where(leads, lead, 1)), loudest)
    return mixed
