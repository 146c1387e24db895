"""Recordings written by PyAV, with any codec and option that FFmpeg knows; and the pictures of a video."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np


def encoded(samples: Any, rate: int, container: str, codec: str, **options: str) -> bytes:
    """`samples`: `(n,)` or `(n, channels)`. Options go to the codec and the container."""
    planes = np.ascontiguousarray(np.asarray(samples, np.float32).reshape(len(samples), -1).T)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(planes)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            stream.codec_context.format, layout, rate, stream.codec_context.frame_size or 1024
        )
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            file.mux(stream.encode(part))
    return buffer.getvalue()


def mp3(samples: Any, rate: int, **options: str) -> bytes:
    """Without a tag, unless asked for."""
    return encoded(samples, rate, "mp3", "libmp3lame", **{"id3v2_version": "0", **options})


def decode(video: Path) -> np.ndarray:
    """The pictures of a video, `(frames, height, width, 3)`."""
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
