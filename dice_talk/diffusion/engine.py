"""The diffusion engine: loads DICE-Talk's networks once and renders videos one after another, or two at a time."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dice_talk.audio import Samples, Speech, load_speech
from dice_talk.background import Background
from dice_talk.diffusion.checkpoints import Models, load_models
from dice_talk.diffusion.compiled import optimise, raise_recompile_limit
from dice_talk.diffusion.condition import Conditioning, prepare_conditioning
from dice_talk.diffusion.decode import CHUNK, TIGHT_CHUNK, decode
from dice_talk.diffusion.denoise import (
    BRANCHES,
    LATENT_CHANNELS,
    SINGLE_PROCESS,
    VAE_STRIDE,
    WINDOW,
    Guidance,
    Peers,
    Predict,
    Windows,
    denoise,
    draw_noise,
    initial_latents,
)
from dice_talk.diffusion.detectors import choose_detector
from dice_talk.diffusion.devices import best_device, name, precision
from dice_talk.diffusion.files import PUBLISHED, weights_label
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.interpolate import resample
from dice_talk.diffusion.memory import BatchSize, is_out_of_memory, retry_on_oom
from dice_talk.diffusion.peers import PeerProcesses, ProcessGroup, gpus_of_the_same_model
from dice_talk.diffusion.preprocess import MODEL_FRAME_SAMPLES, Picture, model_frames, prepare_picture
from dice_talk.diffusion.preview import fit_colours, showing
from dice_talk.diffusion.progress import DENOISED, PREPARED, SEEN, DenoisingProgress
from dice_talk.diffusion.repeat import Repeated, in_float32, overflow
from dice_talk.diffusion.reuse import REUSE
from dice_talk.diffusion.schedule import Schedule, karras_schedule
from dice_talk.diffusion.state import state_of
from dice_talk.engine import DEFAULT_TUNING, Progress, RenderJob, RenderResult, Report, Tuning
from dice_talk.engines import fingerprint, versions
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import Cancelled, EngineUnavailable, NoFaceFound, RenderFailed
from dice_talk.face import SIZE_STEP, Box, Detector, choose, crop_square, largest
from dice_talk.image import Pixels, load_portrait
from dice_talk.options import MAX_DURATION_S, MIN_RESOLUTION, RenderOptions
from dice_talk.preview import encode_preview
from dice_talk.video import VideoWriter, frame_count

logger = logging.getLogger(__name__)
_HALF_THE_PIXELS = 0.5**0.5  # applies to both sides


def load(checkpoints: Path, tuning: Tuning = DEFAULT_TUNING) -> "DiffusionEngine":
    """Load the weights from a folder onto the best device. Raises `EngineUnavailable`."""
    others = gpus_of_the_same_model() if tuning.all_gpus else []
    peers = PeerProcesses(checkpoints, tuning, others) if others else None
    try:
        engine = load_on_one_device(checkpoints, tuning)
    except BaseException:
        if peers:
            peers.close()
        raise
    if peers is None:
        return engine
    if not peers.connect():
        logger.warning("The other GPUs are not used, because they could not load the weights")
        return engine
    logger.info("%d GPUs denoise each video together", 1 + len(others))
    return replace(engine, peers=peers)


def load_on_one_device(checkpoints: Path, tuning: Tuning = DEFAULT_TUNING) -> "DiffusionEngine":
    """Load the engine on one device."""
    device, compiled = best_device(), tuning.compiled
    try:
        models = load_models(checkpoints, device, precision(device, tuning.precision))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_TOO_LARGE,
            "The weights do not fit into the memory of this server's device ({device})",
            "End what else uses it, or set DICE_TALK_ENGINE=lite.",
            device=name(device),
        ) from error
    weights = weights_label(checkpoints)
    logger.info("Weights in %s: %s; on %s in %s", checkpoints, weights, device, models.dtype)
    if compiled and device.type == "cuda":
        optimise(models)
    identity = f"{fingerprint(DiffusionEngine.name, checkpoints)}; {device} {models.dtype}{' compiled' * compiled}"
    return DiffusionEngine(models, choose_detector(checkpoints), weights, identity, compiled=compiled)


@dataclass(frozen=True)
class DiffusionEngine:
    """DICE-Talk. `render` may run in several threads at once: they share nothing but the weights.

    `weights`: "published", or a description such as "tiny random weights". `identity`: changes with everything that
    affects results.
    """

    models: Models
    detect: Detector
    weights: str
    identity: str = ""
    name: str = "diffusion"
    compiled: bool = False
    peers: PeerProcesses | None = None
    _detecting: threading.Lock = field(default_factory=threading.Lock)
    _threads: int = field(default_factory=torch.get_num_threads)

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        """Render `job.output`; see `dice_talk.engine.Engine`."""
        torch.set_num_threads(self._threads)  # applies per thread, and sums of floats depend on it
        if self.compiled:
            raise_recompile_limit()
        options = job.options
        with torch.inference_mode(), _explain_out_of_memory(options):
            report(Progress("prepare", "Looking at the portrait...", 0.0))
            picture = self._picture(job)
            speech = load_speech(job.audio, options.duration or MAX_DURATION_S)
            # The speech features are as large as the video is long, and are freed once the latents are complete.
            repeated = Repeated(self.models.dtype)
            latents = self._sample(self._conditioning(picture, speech, options, report), picture, job, report, repeated)
            count = latents.shape[1] - WINDOW
            frames = decode(self.models.vae, latents, count, BatchSize(CHUNK, TIGHT_CHUNK), repeated)
            result = self._write(frames, speech, job, report)
            if repeated.notes[1:]:
                logger.warning("%s", " ".join(repeated.notes))
            return replace(result, notes=repeated.notes)

    def _picture(self, job: RenderJob) -> Picture:
        portrait = load_portrait(job.image)
        with self._detecting:
            faces = self.detect(portrait)
        if not faces:
            raise NoFaceFound(
                ErrorCode.NO_FACE,
                "No face was found in the image",
                "Send a portrait with one face, seen from the front.",
            )
        face = choose(largest(faces), job.options.face_index)
        if job.options.crop:
            portrait, face = _cropped(portrait, face, job.options.expand_ratio)
        clip_size = self.models.image_encoder.config.image_size
        return prepare_picture(portrait, face, job.options.min_resolution, clip_size)

    def _conditioning(self, picture: Picture, speech: Speech, options: RenderOptions, report: Report) -> Conditioning:
        def on_window(share: float) -> None:
            report(Progress("listen", "Listening to the speech...", SEEN + (PREPARED - SEEN) * share))

        samples = _pad_speech(speech)
        return prepare_conditioning(self.models, picture, samples, options.emotion, options.dynamic_scale, on_window)

    def assist(self, job: RenderJob, group: ProcessGroup) -> None:
        """Compute this process's share of the latents of a job that another process renders. Raises `Aborted`."""
        with torch.inference_mode():
            picture = self._picture(job)
            speech = load_speech(job.audio, job.options.duration or MAX_DURATION_S)
            height, width = (side // VAE_STRIDE for side in picture.reference.shape[2:])
            latents = torch.empty(1, model_frames(len(_pad_speech(speech))) + WINDOW, LATENT_CHANNELS, height, width)
            first_step = group.broadcast_start(latents, 0)
            with group.giving_up_together():
                conditioning = self._conditioning(picture, speech, job.options, lambda progress: None)
                repeated = Repeated(self.models.dtype)
                predict, schedule, windows = self._sampling(conditioning, job.options, repeated)
                denoise(predict, latents, schedule, windows, lambda step, latents: None, first_step, group)
                group.barrier()

    def _sampling(
        self, conditioning: Conditioning, options: RenderOptions, repeated: Repeated
    ) -> tuple[Predict, Schedule, Windows]:
        schedule, reuse = karras_schedule(options.inference_steps), REUSE[options.quality]
        guidance = Guidance(options.ref_scale, options.emo_scale)
        precise = cache(lambda: in_float32(self.models.unet))
        repeated.conditioning = conditioning.dtype != self.models.dtype
        unet = precise() if repeated.conditioning else self.models.unet
        predict = GuidedPredictor(unet, conditioning, guidance, schedule, BatchSize(BRANCHES), reuse)

        def predict_precisely() -> Predict:
            given = conditioning.to(torch.float32)
            return GuidedPredictor(precise(), given, guidance, schedule, BatchSize(BRANCHES))

        return repeated.predict(predict, predict_precisely), schedule, Windows(steps=reuse.steps)

    def _sample(
        self, conditioning: Conditioning, picture: Picture, job: RenderJob, report: Report, repeated: Repeated
    ) -> Tensor:
        """Return the latents (1, T, 4, h, w) on the CPU, resuming from `job.state`. T includes the padding."""
        total = conditioning.frames + WINDOW
        predict, schedule, windows = self._sampling(conditioning, job.options, repeated)
        state = state_of(job, self.identity)
        first_step, latents = state.load() or (
            0,
            self._initial_latents(conditioning, picture, total, job.options.seed or 0, schedule),
        )
        own_windows = -(-windows.count(total) // (self.peers.count if self.peers else 1))
        progress = DenoisingProgress(report, self._message, len(schedule), own_windows, first_step)

        def on_step(step: int, latents: Tensor) -> None:
            state.update(step, latents)
            progress.on_step(step)

        def show(pixels: Pixels) -> None:
            progress.report_now(encode_preview(pixels, job.labels))

        # With peers, the window of frame 0 is always this process's own.
        frame = 0 if self.peers else conditioning.frames // 2
        colours = fit_colours(conditioning.reference, picture.reference)
        predict = progress.counting(showing(predict, schedule, frame, colours, show))
        progress.on_step(first_step)
        try:
            with self._denoising(job, latents, first_step, progress) as peers:
                latents = denoise(predict, latents, schedule, windows, on_step, first_step, peers)
        except Cancelled:
            state.save()
            raise
        if not all(part.isfinite().all() for part in latents.split(WINDOW, 1)):  # a single mask would be as large
            raise overflow()
        return latents

    def _denoising(
        self, job: RenderJob, latents: Tensor, first_step: int, progress: DenoisingProgress
    ) -> AbstractContextManager[Peers]:
        if self.peers is None:
            return nullcontext(SINGLE_PROCESS)
        return self.peers.denoising(job, latents, first_step, progress.report_now)

    def _initial_latents(
        self, conditioning: Conditioning, picture: Picture, total: int, seed: int, schedule: Schedule
    ) -> Tensor:
        """Return the latents (1, T, 4, h, w) before the first step, on the CPU."""
        shape = tuple(picture.reference.shape)
        noise = retry_on_oom(lambda: draw_noise(seed, total, shape, self.models.device, self.models.dtype).cpu())
        return initial_latents(conditioning.reference.cpu(), noise, schedule)

    def _write(self, frames: Iterator[Tensor], speech: Speech, job: RenderJob, report: Report) -> RenderResult:
        """Interpolate and encode frames (3, H, W) as they arrive."""
        fps, count = job.options.fps, frame_count(speech.seconds, job.options.fps)
        smooth = (retry_on_oom(partial(_pixels, frame)) for frame in resample(self.models.ifnet, frames, fps, count))
        first = next(smooth)
        height, width, _ = first.shape
        metadata = {"engine": self.name, "weights": self.weights, **job.options.model_dump(mode="json")}
        writer = VideoWriter(
            job.output,
            width=width,
            height=height,
            fps=fps,
            frames=count,
            sound=speech.stereo,
            rate=speech.rate,
            metadata=metadata,
            labels=job.labels,
        )
        with writer as video, Background(video.write) as write:  # meanwhile the device computes the next frames
            for number, frame in enumerate(chain((first,), smooth)):
                report(Progress("render", self._message, DENOISED + (1 - DENOISED) * number / count, number, count))
                write(frame)
        report(Progress("render", self._message, 1.0, count, count))
        return RenderResult(width, height, fps, count, count / fps, versions(self.name))

    @property
    def _message(self) -> str:
        return "Generating video..." if self.weights == PUBLISHED else f"Generating video... ({self.weights})"


def _cropped(portrait: Pixels, face: Box, expand_ratio: float) -> tuple[Pixels, Box]:
    """Return the square around the face, and the face's box in it."""
    height, width, _ = portrait.shape
    left, top, right, bottom = crop_square(face, expand_ratio, width, height)
    moved = Box(face.left - left, face.top - top, face.right - left, face.bottom - top)
    return portrait[top:bottom, left:right], moved


def _pad_speech(speech: Speech) -> Samples:
    """Return samples at 16 kHz, padded with silence if they are shorter than one model frame."""
    missing = MODEL_FRAME_SAMPLES - len(speech.samples)
    return np.pad(speech.samples, (0, missing)) if missing > 0 else speech.samples


def _pixels(frame: Tensor) -> Pixels:
    """Convert a frame (3, H, W) in [0, 1] to RGB pixels (H, W, 3), rounded to the nearest of 256 levels."""
    pixels: Pixels = (frame * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(pixels)


@contextmanager
def _explain_out_of_memory(options: RenderOptions) -> Iterator[None]:
    """Translate the error that remains if even the smaller batch does not fit into memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RenderFailed(
            ErrorCode.TOO_LITTLE_MEMORY,
            "This server has too little memory for a video of min_resolution {min_resolution}",
            "{advice}",
            min_resolution=options.min_resolution,
            advice=_memory_advice(options.min_resolution),
        ) from error


def _memory_advice(min_resolution: int) -> str:
    """Advise about half the pixels, if the options allow it and it makes a difference."""
    smaller = max(MIN_RESOLUTION, int(min_resolution * _HALF_THE_PIXELS) // SIZE_STEP * SIZE_STEP)
    if smaller >= round(min_resolution / SIZE_STEP) * SIZE_STEP:
        return "No video is smaller: its device is too small for this engine. Use engine=lite."
    return f"Lower min_resolution to {smaller}. A lower duration saves little: most memory does not depend on it."
