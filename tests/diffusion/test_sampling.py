"""The sampler end to end against the published one: every window of every step, latents and frames."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dice_talk.diffusion import checkpoints
from dice_talk.diffusion import denoise as sampler
from dice_talk.diffusion.attention import Bank, Conditions, Tokens, face_mask_levels
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.decode import decode
from dice_talk.diffusion.denoise import Guidance, Predict, Windows, denoise, draw_noise, initial_latents
from dice_talk.diffusion.guide import GuidedPredictor
from dice_talk.diffusion.memory import BatchSize
from dice_talk.diffusion.schedule import Schedule, euler_step, karras_schedule
from tests.diffusion.cases import Case, deviation

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("inference")]
Read = Callable[[str], Case]
TIGHT = 2e-5  # float32 against float64 differs by 3e-5 in latents of size 10


class PerFrameTask(Conditioning):
    """The cases give each frame a pose and an emotion of its own, which real tasks have one of."""

    poses: Tensor
    emotions: Tensor

    def at(self, frames: Tensor) -> Conditions:
        conditions = super().at(frames)
        absent = torch.zeros_like(frames)
        index = torch.stack((absent, absent, torch.where(frames < self.frames, frames + 1, 0)))
        emotion = Tokens(Bank(self.emotions), index)
        pose = self.poses[frames.clamp(max=self.frames - 1)]
        return replace(conditions, pose=pose, adapters=(conditions.adapters[0], emotion))


@pytest.fixture(scope="module")
def modules(case: Read) -> dict[str, Any]:
    given = case("e2e_a_overlap0")
    unet = checkpoints.unet(given.config("unet"), given.weights("unet"))
    vae = AutoencoderKLTemporalDecoder.from_config(given.config("vae"))
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**given.config("image_encoder")))
    return {
        "unet": unet,
        "vae": checkpoints.load_strictly(vae, given.weights("vae"), "vae"),
        "image_encoder": checkpoints.load_strictly(encoder, given.weights("image_encoder"), "image encoder"),
        "pose_guider": checkpoints.pose_guider(given.weights("pose_guider")),
    }


def make_task(given: Case, modules: dict[str, Any], condition: Tensor) -> PerFrameTask:
    call = given.about["kwargs"]
    image = modules["image_encoder"](given["in.clip_image"]).image_embeds[:, None]
    frames, masks = call["num_frames"], given["in.pose_images"]
    speech = Bank(torch.cat((given["in.uncond_audio_prompts"][:1], given["in.audio_prompts"])), cache=True)
    poses = modules["pose_guider"](masks)
    task = PerFrameTask(
        frames=frames,
        reference=condition,
        image=Bank(torch.cat((torch.zeros_like(image), image)), cache=True),
        emotion=Bank(torch.cat((given["in.uncond_emo_prompts"][:1], given["in.emo_prompts"][:1])), cache=True),
        audio=lambda window: (speech, torch.where(window < frames, window + 1, 0)),
        pose=poses[:1],
        masks=face_mask_levels(masks[:1, :1], *condition.shape[2:]),
        time_ids=torch.tensor([[call["fps"], call["motion_bucket_id"], call["motion_bucket_id_exp"]]] * 3),
    )
    object.__setattr__(task, "poses", poses)
    emotions = torch.cat((given["in.uncond_emo_prompts"][:1], given["in.emo_prompts"]))
    object.__setattr__(task, "emotions", emotions)
    return task


def ramp(call: dict[str, Any], schedule: Schedule, modules: dict[str, Any], task: Conditioning) -> Predict:
    """Published calls may let both scales grow from step to step; ours are constant."""
    scales = [
        torch.linspace(call[f"min_guidance_scale{which}"], call[f"max_guidance_scale{which}"], len(schedule)).tolist()
        for which in (1, 2)
    ]
    predicts = [
        GuidedPredictor(modules["unet"], task, Guidance(*pair), schedule, BatchSize(3))
        for pair in zip(*scales, strict=True)
    ]
    return lambda latents, step, frames: predicts[step](latents, step, frames)


@pytest.mark.parametrize("name", ["e2e_a_overlap0", "e2e_b_overlap1", "e2e_c_generator", "e2e_d_strength"])
def test_sampler(case: Read, modules: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(name)
    call, image = given.about["kwargs"], given["in.ref_image"]
    total = call["num_frames"] + call["frames_per_batch"]
    # "seed" stands for both ways of drawing: the published code takes the given generator, or the global one.
    drawn = draw_noise(given.about["seed"] or 0, total, tuple(image.shape), torch.device("cpu"), torch.float32)
    noise = given.tensors.get("in.latents", drawn)
    schedule = karras_schedule(call["num_inference_steps"])
    first = len(schedule) - int(call["num_inference_steps"] * call["i2i_noise_strength"])
    schedule = Schedule(schedule.timesteps[first:], schedule.sigmas[first:])
    assert deviation(schedule.timesteps, given["mid.timesteps"]) < 1e-6

    reference = modules["vae"].encode(image).latent_dist.mode()
    assert deviation(reference, given["mid.ref_latents_mean"]) < TIGHT
    generator = torch.Generator().manual_seed(given.about["seed"] or 0)
    blurred = image + call["noise_aug_strength"] * torch.randn(image.shape, generator=generator)
    task = make_task(given, modules, modules["vae"].encode(blurred).latent_dist.mode())
    latents = initial_latents(reference, noise, schedule)
    if "mid.initial_latents" in given.tensors:
        assert deviation(latents, given["mid.initial_latents"]) < TIGHT

    stepped: list[Tensor] = []

    def recorded(*arguments: Tensor) -> Tensor:
        stepped.append(euler_step(*arguments))
        return stepped[-1]

    monkeypatch.setattr(sampler, "euler_step", recorded)
    windows = Windows(call["frames_per_batch"], call["overlap"], call["shift_offset"])
    latents = denoise(ramp(call, schedule, modules, task), latents, schedule, windows, lambda step, latents: None)

    for step, schedule_of_step in enumerate(given.about["window_schedule"]):
        assert [frames.tolist() for frames in windows.at(step, total)] == schedule_of_step
    assert deviation(torch.stack(stepped), given["out.window_latents"].flatten(0, 1)) < TIGHT
    assert deviation(latents, given["out.latents"]) < TIGHT
    frames = decode(modules["vae"], latents, call["num_frames"], BatchSize(call["decode_chunk_size"]))
    assert deviation(torch.stack(list(frames), 1)[None] * 2 - 1, given["out.frames"]) < TIGHT
