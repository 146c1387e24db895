"""The forms of denoising that the benchmark compares: where they promise exact latents, these are exact."""

import pytest

from tests.diffusion.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch.nn.attention import SDPBackend

from benchmarks.forms import FORMS, GUIDANCE, Form, Sampler
from benchmarks.graphs import RecordedUNet, record_by_hand
from dice_talk.diffusion import condition
from dice_talk.diffusion.condition import Task
from dice_talk.diffusion.guide import Guided
from dice_talk.diffusion.memory import Portion
from dice_talk.diffusion.reuse import REUSE
from dice_talk.diffusion.schedule import karras_schedule
from dice_talk.diffusion.unet import DiceTalkUNet
from dice_talk.options import Quality
from tests.diffusion.cases import deviation
from tests.diffusion.small import SHALLOW, make_task, make_unet, random

pytestmark = pytest.mark.usefixtures("inference")
SAMPLED_ROUNDING = 5e-4  # steps from sigma 700 magnify it
SHORT, LONG = 5, 28
"""Model frames."""
RUN_HERE = [
    form
    for form in FORMS
    if not form.compiled
    and (form.channels_last or form.graph or form.attention)
    and form.attention is not SDPBackend.CUDNN_ATTENTION
]


@pytest.fixture(scope="module")
def unet() -> DiceTalkUNet:
    return make_unet(SHALLOW)


def sampled(sample: Sampler, task: Task, steps: int = 3) -> Tensor:
    latents = 700 * random(1, task.frames + 25, 4, 8, 8, seed=9)
    return sample(task, karras_schedule(steps), latents)


@pytest.mark.parametrize("form", RUN_HERE, ids=lambda form: form.name)
def test_a_form_gives_the_latents_of_its_quality(unet: DiceTalkUNet, form: Form) -> None:
    task = make_task(SHORT)
    expected = sampled(Form("", form.quality).sampler(unet), task)
    assert deviation(sampled(form.sampler(unet, record_by_hand), task), expected) < SAMPLED_ROUNDING


@pytest.mark.parametrize("quality", list(Quality))
def test_a_recording_serves_videos_of_any_length(
    monkeypatch: pytest.MonkeyPatch, unet: DiceTalkUNet, quality: Quality
) -> None:
    """Another portrait and other speech, too: nothing of the first may have been recorded. The tokens of the long one
    are made for each window, which have more or fewer."""
    monkeypatch.setattr(condition, "KEPT_AUDIO_FRAMES", SHORT)
    recorded = Form("", quality, graph=True).sampler(unet, record_by_hand)
    for number, frames in enumerate((SHORT, LONG)):
        task = make_task(frames, seed=10 * number)
        expected = sampled(Form("", quality).sampler(unet), task)
        assert deviation(sampled(recorded, task), expected) < SAMPLED_ROUNDING


def test_a_pass_is_recorded_once_for_its_kind_and_size(unet: DiceTalkUNet) -> None:
    recorded = RecordedUNet(unet, record_by_hand)
    for frames in (SHORT, LONG):
        task = make_task(frames)
        for quality in Quality:
            predict = Guided(recorded, task, GUIDANCE, karras_schedule(3), Portion(3), REUSE[quality])
            for step in range(2):
                predict(random(1, 25, 4, 8, 8), step, torch.arange(25))
    assert len(recorded.recordings) == 4  # whole; whole, keeping; last layer of three branches; of one
