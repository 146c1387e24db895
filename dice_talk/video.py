"""Writes the finished file frame by frame, with its labels, and reads back its properties or one picture.

PyAV (FFmpeg's libraries inside a wheel) encodes in this process: no system ffmpeg, no shell, exact time stamps.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from dice_talk import __version__
from dice_talk.audio import Samples
from dice_talk.engine import RenderJob, RenderResult
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import RenderFailed
from dice_talk.image import Pixels
from dice_talk.labels import AIGC, UNNAMED, Labels, reading, signature, xmp
from dice_talk.labels.boxes import moov_first
from dice_talk.labels.stamp import Stamp

CRF = "17"
"""x264 quality; visually lossless for faces at these sizes."""
PRESET = "veryfast"
TUNING = "chroma-qp-offset=-8"
"""Finer colours for x264. Without it, a closing lid keeps some of the eye's grey and red for the length of a blink."""
POSTER_QUALITY = 85
AUDIO_RATE = 48_000
"""Hz; every player supports it, and speech has nothing above it."""
AUDIO_BITRATE = 128_000
"""Bits per second and channel."""
AUDIO_CODER = "fast"
"""FFmpeg's quantiser search. It takes half the time of the default one, which gives some recordings a poor first
second.
"""
_MOVFLAGS = "+faststart+use_metadata_tags"
"""Without use_metadata_tags, FFmpeg silently drops AIGC, which is not an iTunes field. See decision 0020."""
_QUICKTIME = "com.apple.quicktime."
_AAC_FRAME = 1024
_LAYOUTS = {1: "mono", 2: "stereo"}
_BT709 = 1  # FFmpeg's number for BT.709 primaries, transfer and matrix


def frame_count(seconds: float, fps: int) -> int:
    """Return the number of frames that show `seconds` of video. Even the shortest sound gets one."""
    return max(1, round(seconds * fps))


class VideoWriter:
    """Encodes H.264 (yuv420p) and AAC into an MP4 that can be played while it is being downloaded.

    A context manager. Memory does not grow with the length, because sound is written up to the time of each frame.
    Sound and picture both last `frames / fps` seconds: the sound is cut or padded with silence.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: int,
        frames: int,
        sound: Samples,
        rate: int,
        metadata: Mapping[str, object],
        labels: Labels = UNNAMED,
    ) -> None:
        """`sound`: `(n, 1)` or `(n, 2)` at `rate` Hz. `metadata`: JSON for the comment; the version is added."""
        self._path, self._labels = path, labels
        self._stamp = Stamp(labels, width=width, height=height, fps=fps)
        self.frames, self.fps, self._written, self._heard = frames, fps, 0, 0
        self._pieces = _pieces(sound, rate, _sound_length(frames, fps))
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": _MOVFLAGS})
        comment = json.dumps({**metadata, "version": __version__, **labels.comment_fields})
        for name, text in (("title", "DICE-Talk"), ("comment", comment)):
            self._container.metadata[name] = self._container.metadata[_QUICKTIME + name] = text
        self._container.metadata[AIGC] = labels.aigc
        self._video: VideoStream = self._container.add_stream("libx264", rate=fps)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.options = {"crf": CRF, "preset": PRESET, "x264-params": TUNING}
        context = self._video.codec_context
        context.thread_count = 1  # two tasks share the machine, and more threads would only compete for it
        self._reformatter = VideoReformatter()  # else every frame would set up its own
        context.time_base = Fraction(1, fps)
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = ColorRange.MPEG
        self._audio: AudioStream = self._container.add_stream(
            "aac", rate=AUDIO_RATE, layout=_LAYOUTS[sound.shape[1]], options={"aac_coder": AUDIO_CODER}
        )
        self._audio.bit_rate = AUDIO_BITRATE * sound.shape[1]

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_sound(round(self.frames / self.fps * AUDIO_RATE))
            self._container.mux(self._video.encode())
            self._container.mux(self._audio.encode())
        self._container.close()
        if kind is None:
            xmp.append(self._path, self._labels.source_type)

    def write(self, frame: Pixels) -> None:
        """Append one RGB frame `(H, W, 3)`, with the visible label if there is to be one."""
        frame = self._stamp.on(frame, self._written)
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        picture.pts, picture.time_base = self._written, Fraction(1, self.fps)
        self._container.mux(self._video.encode(picture))
        self._written += 1
        self._write_sound(round(self._written / self.fps * AUDIO_RATE))

    def _write_sound(self, until: int) -> None:
        while self._heard < until and (piece := next(self._pieces, None)) is not None:
            planes = np.ascontiguousarray(piece.T)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=_LAYOUTS[len(planes)])
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, self._heard, Fraction(1, AUDIO_RATE)
            self._container.mux(self._audio.encode(frame))
            self._heard += len(piece)


def _sound_length(frames: int, fps: int) -> int:
    """Return the number of samples at 48 kHz for so many frames: the same length, or up to 5 ms less.

    The last AAC frame is filled up with silence. The file says so, but some readers decode all of it. From 47 frames
    per second on, this silence could be longer than a frame; then the sound ends with the AAC frame before.
    """
    length = round(frames / fps * AUDIO_RATE)
    begun = length % _AAC_FRAME
    too_long = begun > 0 and (_AAC_FRAME - begun) * fps > AUDIO_RATE
    return length - begun if too_long and length > begun else length


def _pieces(sound: Samples, rate: int, length: int) -> Iterator[Samples]:
    """Yield `sound` at 48 kHz in pieces for the encoder, `length` samples in total: cut, or padded with silence."""
    stream = soxr.ResampleStream(rate, AUDIO_RATE, sound.shape[1], dtype="float32", quality="HQ")
    waiting = sound[:0]
    for start in range(0, length, _AAC_FRAME):
        wanted = min(_AAC_FRAME, length - start)
        while len(waiting) < wanted and len(sound):
            block, sound = sound[:rate], sound[rate:]  # a second
            waiting = np.concatenate((waiting, stream.resample_chunk(block, last=not len(sound))))
        yield np.pad(waiting[:wanted], ((0, max(0, wanted - len(waiting))), (0, 0)))
        waiting = waiting[wanted:]


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file, found by reading it."""

    container: str
    video_codec: str
    audio_codec: str
    pixel_format: str
    width: int
    height: int
    fps: Fraction
    frames: int
    video_start: float  # seconds
    video_seconds: float
    audio_seconds: float
    faststart: bool
    metadata: dict[str, str]


def finish(job: RenderJob, result: RenderResult, engine: str) -> None:
    """Finish what an engine has rendered: sign the file if required, and verify it. Raises `RenderFailed`."""
    if job.labels.signed:
        signature.sign(job.output, job.labels, job.image, engine, result.versions.get(f"{engine}-engine", ""))
    verify(job.output, result, job.labels)


def probe(path: Path) -> VideoInfo:
    """Read streams and packets without decoding. Raises `RenderFailed` if the file is not a video with sound."""
    try:
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            frames = 0
            for packet in container.demux(video):
                frames += packet.size > 0
            return VideoInfo(
                container=container.format.name,
                video_codec=video.codec_context.name,
                audio_codec=audio.codec_context.name,
                pixel_format=str(video.codec_context.pix_fmt),
                width=video.codec_context.width,
                height=video.codec_context.height,
                fps=Fraction(video.average_rate or 0),
                frames=frames,
                video_start=_seconds(video.start_time, video.time_base),
                video_seconds=_seconds(video.duration, video.time_base),
                audio_seconds=_seconds(audio.duration, audio.time_base),
                faststart=_starts_fast(path),
                metadata=dict(container.metadata),
            )
    except (av.FFmpegError, IndexError) as error:
        raise RenderFailed(ErrorCode.RESULT_INVALID, "The finished file is not a video with sound") from error


def verify(path: Path, promised: RenderResult, labels: Labels = UNNAMED) -> None:
    """Raises `RenderFailed` unless the file matches the engine's result and carries its labels."""
    info = probe(path)
    found = {
        "codecs": ((info.video_codec, info.audio_codec, info.pixel_format), ("h264", "aac", "yuv420p")),
        "size": ((info.width, info.height), (promised.width, promised.height)),
        "frame rate": (info.fps, promised.fps),
        "frames": (info.frames, promised.frames),
        "start": (info.video_start, 0),
        "fast start": (info.faststart, True),
        "sound as long as the picture": (
            abs(info.audio_seconds - info.video_seconds) <= 1 / promised.fps,
            True,
        ),
    }
    wrong = [f"{what}: {got} instead of {wanted}" for what, (got, wanted) in found.items() if got != wanted]
    if wrong:
        raise RenderFailed(ErrorCode.RESULT_INVALID, "The finished video is not what was promised", "; ".join(wrong))
    reading.check(path, labels)


def poster(path: Path) -> bytes:
    """Return the middle frame of a video as a JPEG. At the start, every face still looks like its portrait."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        middle = (stream.duration or 0) // 2
        container.seek(middle, stream=stream)  # to the last key frame before it
        for frame in container.decode(stream):
            if (frame.pts or 0) >= middle:
                break  # if there is only one frame, it is the last one
        picture = frame.to_ndarray(format="rgb24")
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=POSTER_QUALITY)
    return file.getvalue()


def _seconds(ticks: int | None, base: Fraction | None) -> float:
    return float((ticks or 0) * (base or 0))


def _starts_fast(path: Path) -> bool:
    with path.open("rb") as file:
        return moov_first(file)
