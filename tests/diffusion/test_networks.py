"""The networks against the published ones, on the same random weights."""

from collections.abc import Callable

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion import checkpoints
from dice_talk.diffusion.attention import Bank, Conditions, Tokens, face_mask_levels
from dice_talk.diffusion.interpolate import between
from tests.diffusion.cases import Case, deviation

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("inference")]
Read = Callable[[str], Case]
TIGHT = 5e-6


@pytest.mark.parametrize("name", ["audio_linear_tiny", "audio_linear_full"])
def test_audio_tokens(case: Read, name: str) -> None:
    given = case(name)
    net = checkpoints.audio_linear(given.weights("audio_linear"))
    assert deviation(net(given["in.x"].flatten(2)), given["out.y"]) < TIGHT
    assert deviation(net(given["in.x2"].flatten(2)), given["out.y2"]) < TIGHT
    assert deviation(net(torch.zeros_like(given["in.x"]).flatten(2)), given["out.y_zeros"]) < TIGHT


@pytest.mark.parametrize("name", ["pose_guider_tiny", "pose_guider_full"])
def test_pose_features(case: Read, name: str) -> None:
    given = case(name)
    net = checkpoints.pose_guider(given.weights("pose_guider"))
    for frames in ("1", "3"):
        masks = given[f"in.x{frames}"][0].transpose(0, 1)
        assert deviation(net(masks).transpose(0, 1)[None], given[f"out.y{frames}"]) < TIGHT


def test_emotion_tokens(case: Read) -> None:
    given = case("emo_model")
    net = checkpoints.emo_model(given.weights("emo_model"))
    priors = {"x": given["in.x"], "x3": given["in.x3"], "zeros": torch.zeros_like(given["in.x"])}
    for tag, prior in priors.items():
        found = net(prior.reshape(-1, prior.shape[-1]))
        assert deviation(found[None], given[f"out.{tag}.retrieval_false"]) < TIGHT


def test_motion_between_frames(case: Read) -> None:
    given = case("rife_ifnet")
    net = checkpoints.ifnet({f"module.{key}": value for key, value in given.weights("flownet").items()})
    for tag in ("a", "b"):
        first, second = given[f"in.{tag}.img0"], given[f"in.{tag}.img1"]
        motion = net(first, second)
        assert deviation(motion.flow, given[f"out.{tag}.flow"]) < 1e-5
        assert deviation(motion.blend, given[f"out.{tag}.mask"]) < 1e-4
        clamped = given[f"out.{tag}.middle"].clamp(0, 1)
        assert deviation(between(first, second, motion, 0.5), clamped) < 1e-4


@pytest.mark.parametrize("name", ["unet_tiny_square", "unet_tiny_nonsquare", "unet_tiny_b_tall"])
def test_unet(case: Read, name: str) -> None:
    given = case(name)
    net = checkpoints.unet(given.config("unet"), given.weights("unet"))
    latents = given["in.sample"]
    index = torch.arange(latents.shape[0] * latents.shape[1]).view(latents.shape[:2])
    image, audio, emotion = (
        Tokens(Bank(given[f"in.{source}"]), index) for source in ("image_embeds", "audio_tokens", "emo_tokens")
    )
    conditions = Conditions(
        image=image,
        adapters=(audio, emotion),
        pose=given["in.spatial_condition"].flatten(0, 1),
        masks=face_mask_levels(given["in.face_mask"], *latents.shape[-2:]),
    )
    found = net.predict(latents, given["in.timestep"], given["in.added_time_ids"], conditions)
    assert deviation(found, given["out.sample"]) < TIGHT
