"""What the service may expect of every engine. Each test runs with all that are installed, diffusion on tiny weights.

Other packages' engines too: `./run_tests.sh tests/test_engine_contract.py -k NAME` (docs/engines.md).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageOps

from dice_talk.engine import Engine, Progress, RenderJob, RenderResult
from dice_talk.engines import ENGINES, load_engine
from dice_talk.errors import Cancelled, InvalidOptions, NoFaceFound
from dice_talk.options import RenderOptions
from dice_talk.video import probe, verify
from tests.encode import decode

Render = Callable[..., tuple[RenderResult, Path]]
ASKED = {"emotion": "happy", "seed": 3, "duration": 0.3, "inference_steps": 8, "quality": "fast"}
SIDES = {"diffusion": 64}
"""Pixels, of those that do not get 128. Diffusion takes less than clients may ask for: the path is the same."""


def nothing(progress: Progress) -> None:
    pass


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    if request.param == "diffusion":
        return load_engine("diffusion", request.getfixturevalue("tiny_checkpoints"))
    return load_engine(request.param, tmp_path_factory.mktemp("none"))


@pytest.fixture
def side(engine: Engine) -> int:
    return SIDES.get(engine.name, 128)


@pytest.fixture
def render(engine: Engine, side: int, portrait: Path, speech: Path, tmp_path: Path) -> Render:
    def run(
        name: str = "a", image: Path = portrait, audio: Path = speech, report: Any = nothing, **options: Any
    ) -> tuple[RenderResult, Path]:
        output = tmp_path / f"{name}.part"
        wanted = RenderOptions(**(ASKED | options)).model_copy(update={"min_resolution": side})
        return engine.render(RenderJob(image, audio, output, wanted), report), output

    return run


def test_keeps_its_promises(engine: Engine, render: Render, side: int) -> None:
    """One after another, for renders are slow: the file, its words, progress, cancelling, the seed."""
    seen: list[Progress] = []
    result, video = render(fps=30, report=seen.append)
    assert (result.width, result.height, result.fps, result.frames) == (side, side, 30, 9)
    verify(video, result)
    comment = probe(video).metadata["comment"]
    assert f'"engine": "{engine.name}"' in comment
    assert '"seed": 3' in comment
    assert '"version"' in comment

    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions), "progress never goes back"
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert len(seen) >= 4
    assert all(progress.message and progress.stage for progress in seen)

    def stop(progress: Progress) -> None:
        if progress.fraction > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        render("called off", report=stop)
    _, again = render("again", fps=30)
    assert np.array_equal(decode(video), decode(again)), "the same seed, and the engine is as good as new"
    _, other = render("other", fps=30, seed=4)
    assert not np.array_equal(decode(video), decode(other))


def test_the_shortest_sound_makes_one_frame(render: Render, tmp_path: Path) -> None:
    click = tmp_path / "click.wav"
    soundfile.write(click, np.full(320, 0.1), 16_000)
    result, video = render(audio=click, duration=None, fps=60)
    assert result.frames == 1
    verify(video, result)


def test_a_picture_that_is_not_square_keeps_its_shape_and_crop_makes_it_square(
    render: Render, side: int, portrait: Path, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.png"
    with Image.open(portrait) as image:
        picture = Image.new("RGB", (image.width * 2, image.height), "grey")
        picture.paste(image, (image.width // 2, 0))
        picture.save(wide)
    whole, _ = render(image=wide, fps=8)
    assert (whole.width, whole.height) == (2 * side, side)
    cropped, _ = render(image=wide, crop=True, fps=8)
    assert (cropped.width, cropped.height) == (side, side)


def test_no_face_fails_with_what_to_try(render: Render, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (300, 300), "teal").save(plain)
    with pytest.raises(NoFaceFound, match="No face") as failure:
        render(image=plain)
    assert failure.value.detail


def test_the_face_that_is_chosen_is_the_one_that_is_cropped(render: Render, portrait: Path, tmp_path: Path) -> None:
    """Two of the same person, the smaller one mirrored and on grey."""
    group = tmp_path / "group.png"
    with Image.open(portrait) as image:
        picture = Image.new("RGB", (image.width * 2, image.height), "grey")
        picture.paste(image)
        half = ImageOps.mirror(image).resize((image.width // 2, image.height // 2))
        picture.paste(half, (image.width + image.width // 3, image.height // 3))
        picture.save(group)
    (_, large), (_, small) = (render(str(i), image=group, crop=True, fps=8, face_index=i) for i in range(2))
    _, alone = render("alone", crop=True, fps=8)
    first = [decode(video)[0].astype(int) for video in (large, small, alone)]
    assert np.abs(first[0] - first[2]).mean() < np.abs(first[1] - first[2]).mean()
    with pytest.raises(InvalidOptions, match="There is no face 2: 2 faces can be used"):
        render(image=group, face_index=2)
