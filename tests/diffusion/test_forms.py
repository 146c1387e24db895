"""The forms of denoising that the benchmark compares: where they promise exact latents, these are exact."""

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch.nn.attention import SDPBackend
from torch.profiler import ProfilerActivity, profile

from benchmarks.forms import FORMS, Form, Predictor
from benchmarks.graphs import record_operations
from dice_talk.diffusion import condition
from dice_talk.diffusion.condition import Conditioning
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.options import Quality
from tests.diffusion.cases import deviation
from tests.diffusion.small import SAMPLED_ROUNDING, SHALLOW, make_task, make_unet, random

pytestmark = pytest.mark.usefixtures("inference")
SHORT, LONG = 5, 24
"""Model frames."""


@pytest.fixture
def unet() -> DiceTalkUNet:
    return make_unet(SHALLOW)


def sampled(form: Form, prepared: Predictor, task: Conditioning) -> Tensor:
    latents = 700 * random(1, task.frames + 25, 4, 8, 8, seed=9)
    return form.sample(prepared, task, karras_schedule(2), latents)


def expected(task: Conditioning, quality: Quality = Quality.EXACT) -> Tensor:
    form = Form("", quality)
    return sampled(form, form.prepare(make_unet(SHALLOW)), task)


def test_channels_last(unet: DiceTalkUNet) -> None:
    form, task = Form("", channels_last=True), make_task(SHORT)
    prepared = form.prepare(unet)
    assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert deviation(sampled(form, prepared, task), expected(task)) < SAMPLED_ROUNDING


def test_an_attention_kernel_that_is_asked_for(unet: DiceTalkUNet) -> None:
    """The one that PyTorch has everywhere, and never chooses by itself."""
    form, task = Form("", attention=SDPBackend.MATH), make_task(SHORT)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        latents = sampled(form, form.prepare(unet), task)
    kernels = {event.key for event in seen.key_averages() if "scaled_dot_product" in event.key}
    assert kernels == {"aten::scaled_dot_product_attention", "aten::_scaled_dot_product_attention_math"}
    assert deviation(latents, expected(task)) < SAMPLED_ROUNDING


@pytest.mark.parametrize("quality", list(Quality))
def test_a_recording_serves_videos_of_any_length(
    monkeypatch: pytest.MonkeyPatch, unet: DiceTalkUNet, quality: Quality
) -> None:
    """Another portrait and other speech, too: nothing of the first may have been recorded. The tokens of the long one
    are made for each window, which have more or fewer.
    """
    monkeypatch.setattr(condition, "KEPT_AUDIO_FRAMES", SHORT)
    form = Form("", quality, graph=True)
    recorded = form.prepare(unet, record_operations)
    for number, frames in enumerate((SHORT, LONG)):
        task = make_task(frames, seed=10 * number)
        assert deviation(sampled(form, recorded, task), expected(task, quality)) < SAMPLED_ROUNDING
    assert len(recorded.recordings) == (1 if quality is Quality.EXACT else 2)  # whole; last layer


def test_every_form_can_be_asked_for_by_its_name() -> None:
    assert len({form.name for form in FORMS}) == len(FORMS)
    assert FORMS[0].plain, "the others are compared with it"
