"""The embedded engine: a talking portrait on any CPU, with models that come inside packages."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dice_talk.audio import Speech, load_speech
from dice_talk.engine import Engine, Progress, RenderJob, RenderResult, Report
from dice_talk.engines import versions
from dice_talk.face import Box, crop_square, output_size
from dice_talk.face_models import Points
from dice_talk.image import Pixels, load_portrait
from dice_talk.lite.loudness import loudness
from dice_talk.lite.models import FaceModels, find_face, load_face_models
from dice_talk.lite.performance import Performance, perform
from dice_talk.lite.person import find_person
from dice_talk.lite.phones import recognise
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig, make_rig
from dice_talk.lite.visemes import Speaking, speak
from dice_talk.options import MAX_DURATION_S, RenderOptions
from dice_talk.video import VideoWriter, frame_count

_LISTENED, _PREPARED = 0.10, 0.05
"""Progress after listening to the speech and after preparing the portrait."""
_REPORT_S = 0.25
"""Seconds of video between progress reports. A cancelled render stops within that time."""


@dataclass(frozen=True)
class LiteEngine:
    """The engine with its loaded models. Renders one job after another in one thread."""

    models: FaceModels
    name: str = "lite"

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        """Render a job; see `Engine.render`."""
        report(Progress("prepare", "Preparing the portrait...", 0.0))
        rig = prepare(self.models, job.image, job.options)
        report(Progress("listen", "Listening to the speech...", _PREPARED))
        speech = load_speech(job.audio, job.options.duration or MAX_DURATION_S)
        count = frame_count(speech.seconds, job.options.fps)
        speaking = listen(speech, report)
        performance = perform(rig, speaking, count, job.options)
        return render_video(rig, performance, speech, job, report)


def load(checkpoints: Path) -> Engine:
    """Load the models. The engine needs nothing from the `checkpoints` folder."""
    return LiteEngine(load_face_models())


def prepare(models: FaceModels, image: Path, options: RenderOptions) -> Rig:
    """Load and crop the portrait and build its rig. Raises `InvalidImage`, `NoFaceFound` or `InvalidOptions`."""
    picture = load_portrait(image)
    found = find_face(models, picture, options.face_index)
    points, others = found.points, found.others
    if options.crop:
        square = crop_square(found.box, options.expand_ratio, picture.shape[1], picture.shape[0])
        picture, points, others = _cropped(picture, points, others, square)
    width, height = output_size(picture.shape[1], picture.shape[0], options.min_resolution)
    small = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
    return make_rig(picture, small, points, find_person(models, picture, points), others)


def _cropped(
    picture: Pixels, points: Points, others: list[Box], square: tuple[int, int, int, int]
) -> tuple[Pixels, Points, list[Box]]:
    left, top, right, bottom = square
    moved = [Box(box.left - left, box.top - top, box.right - left, box.bottom - top) for box in others]
    inside = np.ascontiguousarray(picture[top:bottom, left:right])
    return inside, points - np.array([left, top, 0], np.float32), moved


def listen(speech: Speech, report: Report) -> Speaking:
    """Return the mouth's motion at 100 Hz."""

    def heard(share: float) -> None:
        report(Progress("listen", "Listening to the speech...", _PREPARED + share * (_LISTENED - _PREPARED)))

    return speak(recognise(speech.samples, heard), loudness(speech.samples))


def render_video(rig: Rig, performance: Performance, speech: Speech, job: RenderJob, report: Report) -> RenderResult:
    """Render and write the video frame by frame."""
    options, count = job.options, len(performance)
    height, width = rig.picture.shape[:2]
    every = max(1, round(_REPORT_S * options.fps))
    with VideoWriter(
        job.output,
        width=width,
        height=height,
        fps=options.fps,
        frames=count,
        sound=speech.stereo,
        rate=speech.rate,
        metadata=_metadata(options),
        labels=job.labels,
    ) as writer:
        for i, frame in enumerate(frames(rig, performance)):
            if i % every == 0:
                share = _LISTENED + (1 - _LISTENED) * i / count
                report(Progress("render", "Generating video...", share, i, count))
            writer.write(frame)
    report(Progress("render", "Generating video...", 1.0, count, count))
    return RenderResult(width, height, options.fps, count, count / options.fps, versions("lite"))


def _metadata(options: RenderOptions) -> dict[str, object]:
    return {
        "engine": "lite",
        "seed": options.seed,
        "emotion": options.emotion.value,
        "note": "inference_steps has no meaning for this engine",
    }
