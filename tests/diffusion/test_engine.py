"""The whole path with tiny random weights: what every engine promises, and what is this one's own."""

import json
import pkgutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion.checkpoints import load_models
from dice_talk.diffusion.engine import DiffusionEngine
from dice_talk.engine import Progress, RenderJob
from dice_talk.engines import load_engine
from dice_talk.errors import Cancelled, EngineUnavailable, NoFaceFound, RenderFailed
from dice_talk.face import Box
from dice_talk.image import Pixels
from dice_talk.options import RenderOptions
from dice_talk.video import probe, verify
from tests.diffusion.recorder import Recorder

SIDE = 64
STEPS = 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8)).save(folder / "portrait.png")
    soundfile.write(folder / "speech.wav", random.standard_normal(16000 * 3) / 8, 16000)
    return folder / "portrait.png", folder / "speech.wav"


def box(picture: Pixels) -> list[Box]:
    return [Box(20, 20, 40, 40), Box(20, 10, 76, 80)]


@pytest.fixture(scope="module")
def fake(engine: DiffusionEngine) -> DiffusionEngine:
    """The engine with a detector that sees two faces in everything."""
    return replace(engine, detect=box)


def make_job(inputs: tuple[Path, Path], output: Path, **options: Any) -> RenderJob:
    """A job smaller than clients may ask for: the path is the same, and takes a second."""
    wanted = {"emotion": "happy", "seed": 7, "duration": 0.5, **options}
    small = {"inference_steps": STEPS, "min_resolution": SIDE}
    return RenderJob(*inputs, output, RenderOptions(**wanted).model_copy(update=small))


Pictures = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def pictures(fake: DiffusionEngine, inputs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Pictures:
    """Render and give the frames (F, H, W, 3)."""
    monkeypatch.setattr("dice_talk.diffusion.engine.VideoWriter", Recorder)

    def render(name: str, engine: DiffusionEngine = fake, **options: Any) -> NDArray[np.uint8]:
        engine.render(make_job(inputs, Path(f"{name}.mp4"), **options), ignore)
        return np.stack(Recorder.pictures.pop(name))

    return render


def ignore(progress: Progress) -> None:
    pass


def test_a_video_as_promised(fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    job = make_job(inputs, tmp_path / "out.mp4")
    reports: list[Progress] = []
    result = fake.render(job, reports.append)
    verify(job.output, result)
    assert (result.width, result.height, result.fps, result.frames) == (SIDE, SIDE, 24, 12)
    fractions = [progress.fraction for progress in reports]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] == 1
    assert {progress.stage for progress in reports} == {"prepare", "listen", "denoise", "render"}
    steps = [(progress.step, progress.steps) for progress in reports if progress.stage == "denoise"]
    assert {steps_done for steps_done, _ in steps} == set(range(STEPS + 1)) and {total for _, total in steps} == {STEPS}


def test_tiny_weights_are_named(fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    job = make_job(inputs, tmp_path / "out.mp4")
    reports: list[Progress] = []
    fake.render(job, reports.append)
    comment = json.loads(probe(job.output).metadata["comment"])
    assert comment["engine"] == "diffusion" and comment["weights"] == fake.weights == "tiny random weights"
    assert "Generating video... (tiny random weights)" in {progress.message for progress in reports}


@pytest.mark.parametrize("fps", [8, 24, 25, 30, 60])
def test_exactly_the_rate_asked_for(fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, fps: int) -> None:
    job = make_job(inputs, tmp_path / "out.mp4", fps=fps, duration=1.1)
    result = fake.render(job, ignore)
    verify(job.output, result)
    info = probe(job.output)
    assert info.fps == Fraction(fps) and info.frames == round(1.1 * fps)
    assert abs(info.audio_seconds - info.video_seconds) <= 1 / fps


def test_the_same_seed_gives_the_same_pictures(pictures: Pictures) -> None:
    first, again, other = (pictures("video", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("option", ["emotion", "ref_scale", "emo_scale", "dynamic_scale", "crop", "expand_ratio"])
def test_every_option_matters(pictures: Pictures, option: str) -> None:
    scales = {"ref_scale": 1.5, "emo_scale": 2, "dynamic_scale": 2}
    other: dict[str, Any] = {"emotion": "sad", "crop": True, "expand_ratio": 0.1, **scales}
    shared: dict[str, dict[str, Any]] = {"crop": {"expand_ratio": 0.2}, "expand_ratio": {"crop": True}}
    common = shared.get(option, {})
    assert not np.array_equal(pictures("video", **common), pictures("video", **{**common, option: other[option]}))


def test_two_at_once_give_what_each_gives_alone(pictures: Pictures) -> None:
    jobs = {
        "first": {"seed": 1, "emotion": "sad"},
        "second": {"seed": 2, "emotion": "fear", "dynamic_scale": 0.5},
    }
    alone = {name: pictures(name, **options) for name, options in jobs.items()}
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = {name: pool.submit(pictures, name, **options) for name, options in jobs.items()}
    for name in jobs:
        assert np.array_equal(together[name].result(), alone[name])


@pytest.mark.parametrize("stage", ["prepare", "listen", "denoise", "render"])
def test_cancel_ends_the_render(fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, stage: str) -> None:
    reports: list[Progress] = []

    def cancel(progress: Progress) -> None:
        reports.append(progress)
        if progress.stage == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        fake.render(make_job(inputs, tmp_path / "out.mp4"), cancel)
    assert [progress.stage for progress in reports].count(stage) == 1


def test_cancel_is_seen_while_a_long_recording_is_heard(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 65), 16000)
    plain, heard = fake.models.whisper.forward, []

    def hear(*given: Any, **named: Any) -> Any:
        heard.append(given)
        return plain(*given, **named)

    def cancel(progress: Progress) -> None:
        if progress.stage == "listen" and heard:
            raise Cancelled

    monkeypatch.setattr(fake.models.whisper, "forward", hear)
    with pytest.raises(Cancelled):
        fake.render(make_job((inputs[0], tmp_path / "long.wav"), tmp_path / "out.mp4", duration=None), cancel)
    assert len(heard) == 1


@pytest.mark.parametrize(("samples", "rate"), [(1, 16000), (1, 48000), (700, 16000), (1279, 16000), (1280, 16000)])
def test_the_shortest_recordings(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, samples: int, rate: int
) -> None:
    soundfile.write(tmp_path / "short.wav", np.full(samples, 0.1), rate)
    job = make_job((inputs[0], tmp_path / "short.wav"), tmp_path / "out.mp4", duration=None)
    verify(job.output, fake.render(job, ignore))


def test_no_face(engine: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NoFaceFound):
        replace(engine, detect=lambda picture: []).render(make_job(inputs, tmp_path / "out.mp4"), ignore)


def test_the_largest_face_is_taken(engine: DiffusionEngine, pictures: Pictures) -> None:
    faces = box(np.zeros(0, np.uint8))
    both, largest, smallest = (
        pictures("video", engine=replace(engine, detect=partial(lambda seen, picture: seen, seen)))
        for seen in (faces, faces[1:], faces[:1])
    )
    assert np.array_equal(both, largest)
    assert not np.array_equal(both, smallest)


def test_half_precision(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tiny_checkpoints: Path, tmp_path: Path
) -> None:
    """What GPUs run, here on the CPU: every tensor meets weights of its own precision."""
    models = load_models(tiny_checkpoints, torch.device("cpu"), torch.bfloat16)
    job = make_job(inputs, tmp_path / "out.mp4")
    verify(job.output, replace(fake, models=models).render(job, ignore))


def test_numbers_that_overflow_make_no_video(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fake.models.unet.predict
    monkeypatch.setattr(fake.models.unet, "predict", lambda *given: plain(*given) * float("inf"))
    with pytest.raises(RenderFailed, match="overflowed"):
        fake.render(make_job(inputs, tmp_path / "out.mp4"), ignore)


def out_of_memory(*arguments: Any, **keywords: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(("network", "call", "limit"), [("unet", "predict", 1), ("vae", "decode", 4)])
def test_out_of_memory_is_tried_again_in_smaller_pieces(
    fake: DiffusionEngine,
    inputs: tuple[Path, Path],
    tmp_path: Path,
    network: str,
    call: str,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = getattr(fake.models, network)
    plain = getattr(module, call)
    monkeypatch.setattr(
        module,
        call,
        lambda first, *rest, **named: (plain if len(first) <= limit else out_of_memory)(first, *rest, **named),
    )
    job = make_job(inputs, tmp_path / "out.mp4")
    verify(job.output, fake.render(job, ignore))


@pytest.mark.parametrize(
    ("network", "call"),
    [
        ("vae", "encode"),
        ("image_encoder", "forward"),
        ("whisper", "forward"),
        ("audio_linear", "forward"),
        ("emo_model", "forward"),
        ("pose_guider", "forward"),
        ("ifnet", "forward"),
    ],
)
def test_what_cannot_be_cut_up_is_tried_once_more(
    fake: DiffusionEngine,
    inputs: tuple[Path, Path],
    tmp_path: Path,
    network: str,
    call: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = getattr(fake.models, network)
    plain, tries = getattr(module, call), count()

    def short_of_memory(*given: Any, **named: Any) -> Any:
        return (plain if next(tries) else out_of_memory)(*given, **named)

    monkeypatch.setattr(module, call, short_of_memory)
    job = make_job(inputs, tmp_path / "out.mp4")
    verify(job.output, fake.render(job, ignore))
    assert next(tries) >= 2


@pytest.mark.parametrize(
    "step",
    [
        "condition.face_mask_levels",
        "guide.Guidance.combine",
        "decode._images",
        "engine.draw_noise",
        "engine._pixels",
        "interpolate.between",
    ],
)
def test_what_lies_between_the_networks_is_tried_once_more_too(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"dice_talk.diffusion.{step}"
    plain, tries = pkgutil.resolve_name(place), count()
    monkeypatch.setattr(place, lambda *given: (plain if next(tries) else out_of_memory)(*given))
    job = make_job(inputs, tmp_path / "out.mp4")
    verify(job.output, fake.render(job, ignore))
    assert next(tries) >= 2


def test_weights_that_do_not_fit_say_so(tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dice_talk.diffusion.engine.load_models", out_of_memory)
    with pytest.raises(EngineUnavailable, match="do not fit") as caught:
        load_engine("diffusion", tiny_checkpoints)
    assert "lite" in str(caught.value.detail)


def test_out_of_memory_for_good_says_what_to_lower(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake.models.unet, "predict", out_of_memory)
    job = make_job(inputs, tmp_path / "out.mp4")
    large = replace(job, options=job.options.model_copy(update={"min_resolution": 512}))
    with pytest.raises(RenderFailed) as caught:
        fake.render(large, ignore)
    assert "Lower min_resolution to 320" in str(caught.value.detail)
    assert "duration" in str(caught.value.detail)


def test_other_errors_are_not_taken_for_lack_of_memory(
    fake: DiffusionEngine, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(fake.models.unet, "predict", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        fake.render(make_job(inputs, tmp_path / "out.mp4"), ignore)


def test_the_contract_loads_it_by_name(tiny_checkpoints: Path) -> None:
    assert load_engine("diffusion", tiny_checkpoints).name == "diffusion"
