"""From picture, sound and prior to interpolated frames, against the published `process()`."""

from collections.abc import Callable

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from diffusers import AutoencoderKLTemporalDecoder
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dice_talk.diffusion import checkpoints
from dice_talk.diffusion.checkpoints import Models, load_strictly
from dice_talk.diffusion.condition import prepare_conditioning
from dice_talk.diffusion.decode import decode
from dice_talk.diffusion.denoise import Guidance, Windows, denoise, draw_noise, initial_latents
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.interpolate import resample
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.preprocess import prepare_picture
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.emotions import Emotion
from dice_talk.face import Box
from tests.diffusion.cases import Case, deviation

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("inference")]
TIGHT = 2e-5


def make_models(given: Case) -> Models:
    unet = checkpoints.unet(given.config("unet"), given.weights("unet"))
    vae = AutoencoderKLTemporalDecoder.from_config(given.config("vae"))
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**given.config("image_encoder")))
    whisper = WhisperEncoder(WhisperConfig(**given.config("whisper")))
    return Models(
        unet=unet,
        vae=load_strictly(vae, given.weights("vae"), "vae"),
        image_encoder=load_strictly(encoder, given.weights("image_encoder"), "image encoder"),
        whisper=load_strictly(whisper, given.weights("whisper_encoder"), "whisper"),
        mel=WhisperFeatureExtractor(),
        audio_linear=checkpoints.audio_linear(given.weights("audio_linear")),
        emo_model=checkpoints.emo_model(given.weights("emo_model")),
        pose_guider=checkpoints.pose_guider(given.weights("pose_guider")),
        ifnet=checkpoints.ifnet({f"module.{key}": value for key, value in given.weights("flownet").items()}),
        priors={Emotion.HAPPY: given["in.mu"]},
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def test_process(case: Callable[[str], Case]) -> None:
    given = case("process_full")
    call, settings = given.about["call"], given.about["call"]["yaml_overrides"]
    models = make_models(given)
    left, top, width, height = call["box_xywh"]
    face = Box(left, top, left + width, top + height)
    picture = prepare_picture(given["in.image_u8_hwc"].numpy(), face, call["min_resolution"])
    assert deviation(picture.mask[0], given["mid.face_mask"]) < TIGHT
    assert deviation(picture.reference[0], given["mid.ref_img"]) < TIGHT

    task = prepare_conditioning(
        models, picture, given["in.audio_i16"].float().numpy() / 32768, Emotion.HAPPY, 1.0, lambda share: None
    )
    assert task.frames == given.about["pipe_kwargs"]["num_frames"]
    bank, rows = task.audio(torch.tensor([0, task.frames - 1, task.frames]))
    heard = bank.rows[rows]
    assert deviation(heard[0], given["mid.audio_tokens_0"]) < TIGHT
    assert deviation(heard[1], given["mid.audio_tokens_last"]) < TIGHT
    assert deviation(heard[2], given["mid.uncond_audio_tokens"]) < TIGHT
    assert deviation(task.emotion.rows[0], given["mid.uncond_emo_tokens"]) < TIGHT
    assert deviation(task.emotion.rows[1], given["mid.emo_tokens"]) < TIGHT

    schedule = karras_schedule(call["inference_steps"])
    total = task.frames + settings["n_sample_frames"]
    noise = draw_noise(call["seed"], total, tuple(picture.reference.shape), models.device, models.dtype)
    predict = GuidedPredictor(models.unet, task, Guidance(call["ref_scale"], call["emo_scale"]), schedule, BatchSize(3))
    windows = Windows(settings["n_sample_frames"], shift=settings["shift_offset"])
    start = initial_latents(task.reference, noise, schedule)
    latents = denoise(predict, start, schedule, windows, lambda step, latents: None)
    frames = list(decode(models.vae, latents, task.frames, BatchSize(settings["decode_chunk_size"])))
    assert deviation(torch.stack(frames, 1)[None].clamp(0, 1), given["out.video_raw"].clamp(0, 1)) < TIGHT

    wanted = given["out.video_interpolated"]
    smooth = torch.stack(list(resample(models.ifnet, frames, fps=25, count=wanted.shape[2])), 1)[None]
    assert deviation(smooth, wanted) < 1e-4
    truncated = (smooth[0].transpose(0, 1) * 255).to(torch.uint8).int()
    assert (truncated - given["out.frames_u8"].int()).abs().max() <= 1
