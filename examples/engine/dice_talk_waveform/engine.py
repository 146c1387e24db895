"""Loads the face detector and renders: a portrait, and over it the speech as bars that pass by."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dice_talk.audio import SAMPLE_RATE, Samples, load_speech
from dice_talk.detect import load_detector
from dice_talk.engine import Engine, Progress, RenderJob, RenderResult, Report
from dice_talk.engines import versions
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import NoFaceFound
from dice_talk.face import Detector, choose, crop_square, largest, output_size
from dice_talk.image import Pixels, load_portrait
from dice_talk.options import MAX_DURATION_S, RenderOptions
from dice_talk.video import VideoWriter, frame_count
from dice_talk_waveform import SPEC

BARS = 40
"""Across the picture; the one in the middle is heard now."""
BAR_S = 0.05
REPORT_S = 0.25
"""Seconds of video between progress reports. A render that is cancelled stops at the next one."""
DRAWING = "Drawing the waveform..."


@dataclass(frozen=True)
class WaveformEngine:
    """Renders one job after another. The seed decides the colour."""

    detect: Detector
    name: str = SPEC.name

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        """Write the video. See `dice_talk.engine.Engine`."""
        options = job.options
        report(Progress("prepare", "Preparing the portrait...", 0.0))
        picture = self._picture(job.image, options)
        report(Progress("listen", "Listening to the speech...", 0.05))
        speech = load_speech(job.audio, options.duration or MAX_DURATION_S)
        heights = bar_heights(speech.samples)
        colour = draw_colour(options.seed or 0)
        height, width = picture.shape[:2]
        count, every = frame_count(speech.seconds, options.fps), max(1, round(REPORT_S * options.fps))
        with VideoWriter(
            job.output,
            width=width,
            height=height,
            fps=options.fps,
            frames=count,
            sound=speech.stereo,
            rate=speech.rate,
            metadata={"engine": self.name, "seed": options.seed, "emotion": options.emotion.value},
            labels=job.labels,
        ) as writer:
            for i in range(count):
                if i % every == 0:
                    report(Progress("render", DRAWING, 0.1 + 0.9 * i / count, i, count))
                writer.write(draw(picture, heights, i / options.fps, colour))
        report(Progress("render", DRAWING, 1.0, count, count))
        return RenderResult(width, height, options.fps, count, count / options.fps, versions(self.name))

    def _picture(self, image: Path, options: RenderOptions) -> Pixels:
        """Return the portrait in the video's size, cropped to the face if that is asked for."""
        picture = load_portrait(image)
        faces = largest(self.detect(picture))
        if not faces:
            raise NoFaceFound(ErrorCode.NO_FACE, "No face was found in the image", "Use a sharp picture of one person.")
        face = choose(faces, options.face_index)
        if options.crop:
            left, top, right, bottom = crop_square(face, options.expand_ratio, picture.shape[1], picture.shape[0])
            picture = picture[top:bottom, left:right]
        size = output_size(picture.shape[1], picture.shape[0], options.min_resolution)
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def load(checkpoints: Path) -> Engine:
    """Load the models. This engine needs no checkpoints."""
    return WaveformEngine(load_detector())


def bar_heights(samples: Samples) -> NDArray[np.float32]:
    """Return the height of each `BAR_S` of the speech, 0 to 1, with silence for half a screen on both sides."""
    length = round(BAR_S * SAMPLE_RATE)
    padded = np.pad(np.abs(samples), (0, -len(samples) % length))
    peaks = padded.reshape(-1, length).max(axis=1)
    return np.pad(peaks / max(float(peaks.max()), 1e-3), BARS // 2 + 1).astype(np.float32)


def draw_colour(seed: int) -> Pixels:
    """Return a bright colour of a random hue, as an array of one pixel."""
    hue = np.random.default_rng(seed).integers(180)
    colour: Pixels = cv2.cvtColor(np.array([[[hue, 190, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return colour


def draw(picture: Pixels, heights: NDArray[np.float32], seconds: float, colour: Pixels) -> Pixels:
    """Return the picture with the bars around that time, in colour up to now and white from there on."""
    height, width = picture.shape[:2]
    places = (np.arange(width) + 0.5) / width * BARS - BARS / 2 + seconds / BAR_S  # in bars since the start
    bars = np.floor(places).astype(int) + BARS // 2 + 1
    tall = 0.02 + 0.1 * heights[np.clip(bars, 0, len(heights) - 1)]  # half of it, as a share of the picture's height
    rows = np.abs(np.arange(height) + 0.5 - 0.84 * height)[:, None]
    shown = (rows < tall * height) & (places % 1 < 0.7)
    colours = np.where((np.arange(width) < width / 2)[:, None], colour, np.uint8(255))
    frame = picture.copy()
    blended = 0.2 * picture + 0.8 * colours[None]
    frame[shown] = blended[shown].astype(np.uint8)
    return frame
