"""The seam between the service and whatever renders: one protocol, two engines.

An engine is loaded once per process and renders one job after another. `load_engine` is the only place
that knows which module holds which engine.
"""

import importlib
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

from dice_talk import __version__
from dice_talk.diffusion.files import INSIGHTFACE, NEEDED_FILES, YOLOFACE, weights_label
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable
from dice_talk.labels import UNNAMED, Labels
from dice_talk.options import RenderOptions


@dataclass(frozen=True)
class RenderJob:
    """One video to make. Both files have been checked: `image` is a JPEG or PNG, `audio` a WAV or MP3."""

    image: Path
    audio: Path
    output: Path  # written whole by the engine; the caller renames it into place
    options: RenderOptions  # `seed` is set
    state: Path | None = None  # where an engine may note how far it is, and goes on from; the caller deletes it
    labels: Labels = UNNAMED  # for `VideoWriter`


@dataclass(frozen=True)
class Progress:
    """How far a render is. `fraction` in [0, 1] never goes back within one render."""

    stage: str  # one word for programs: "prepare", "listen", "render", ...
    message: str  # for people: "Generating video..."
    fraction: float
    step: int = 0  # of `steps` in this stage: denoising steps or frames; 0 of 0 where nothing is counted
    steps: int = 0


@dataclass(frozen=True)
class RenderResult:
    """What the finished file holds."""

    width: int
    height: int
    fps: int
    frames: int
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)  # of what made it; see `versions`


@dataclass(frozen=True)
class Tuning:
    """How an engine may use the machine. Results differ by rounding at most."""

    compiled: bool = False  # takes minutes when it is loaded
    all_gpus: bool = False  # for each video


DEFAULT_TUNING = Tuning()

Report = Callable[[Progress], None]
"""Tells how far the render is. Raises `Cancelled` when the task is to stop; engines let it pass through."""


class Engine(Protocol):
    """A loaded engine."""

    @property
    def name(self) -> str:
        """lite or diffusion."""
        ...

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        """Makes `job.output`. Raises `DiceTalkError` where the input is to blame, `Cancelled` when told to stop."""
        ...


@dataclass(frozen=True)
class EngineSpec:
    """Where an engine lives and what it needs, so that a missing part can be named without importing anything."""

    name: str
    module: str  # has `load(checkpoints: Path) -> Engine`
    packages: tuple[str, ...]  # by import name
    distributions: tuple[str, ...]  # whose releases may change the result, if they are installed
    package_files: tuple[str, ...]  # models that packages carry, by import name and path
    files: tuple[str, ...]  # under the checkpoints folder
    extras: tuple[str, ...]  # files and folders there that it does without, though they change the result
    one_process: bool  # one process serves all slots, so that the weights are held once; else one per slot
    remedy: str
    source_type: str  # of its videos: a term of IPTC's DigitalSourceType
    tunable: bool = False  # its `load` takes a `Tuning` too
    revision: int = 1  # raised when the same request could give another video; see scripts/revisions.py

    def missing(self, checkpoints: Path) -> list[str]:
        """What has to be there and is not; empty when the engine can be loaded."""
        if not _importable(self.module):
            return [f"this release of DICE-Talk Server does not contain the {self.name} engine"]
        packages = [f"Python package {name}" for name in self.packages if not _importable(name)]
        models = [f"model {name}" for name in self.package_files if not packages and not _package_file(name).exists()]
        files = [f"checkpoint {name}" for name in self.files if not (checkpoints / name).exists()]
        return packages + models + files


ENGINES = {
    spec.name: spec
    for spec in (
        EngineSpec(
            name="diffusion",
            module="dice_talk.diffusion.engine",
            packages=("torch", "diffusers", "transformers"),
            distributions=(
                "torch",
                "diffusers",
                "transformers",
                "safetensors",
                "opencv-python-headless",
                "insightface",
                "onnxruntime",
            ),
            package_files=(),
            files=NEEDED_FILES,
            extras=(YOLOFACE, INSIGHTFACE),
            one_process=True,
            remedy="Use engine=lite or engine=auto; see 'Engines' in the README for what diffusion needs.",
            source_type="compositeWithTrainedAlgorithmicMedia",
            tunable=True,
            revision=1,
        ),
        EngineSpec(
            name="lite",
            module="dice_talk.lite.engine",
            packages=("pocketsphinx", "cv2"),
            distributions=("pocketsphinx", "cffi", "opencv-python-headless"),
            package_files=(
                "dice_talk/face_models/face_detection_full_range.tflite",
                "dice_talk/face_models/face_detection_short_range.tflite",
                "dice_talk/face_models/mesh_left_eye.tflite",
                "dice_talk/face_models/mesh_lips.tflite",
                "dice_talk/face_models/mesh_regions.json",
                "dice_talk/face_models/mesh_right_eye.tflite",
                "dice_talk/face_models/mesh_trunk.tflite",
                "dice_talk/face_models/selfie_segmentation.tflite",
                "pocketsphinx/model/en-us/en-us-phone.lm.bin",
            ),
            files=(),
            extras=(),
            one_process=False,  # Python's threads would share one core
            remedy="Run: .venv/bin/pip install --force-reinstall -r requirements_api.txt"
            " && .venv/bin/python -m dice_talk.lite.sphinx",
            source_type="compositeSynthetic",
            revision=1,
        ),
    )
}


EngineChoice = Literal["auto", "diffusion", "lite"]
"""What requests and settings may name: auto, or one of `ENGINES`."""

SHARED_DISTRIBUTIONS = ("numpy", "pillow", "soxr", "av")
"""What reads the inputs and writes the file, whichever engine renders."""


def some_of(missing: Sequence[str], most: int = 3) -> str:
    """The first of them, in one line; `dice-talk doctor` lists all."""
    more = len(missing) - most
    return "; ".join([*missing[:most], *([f"{more} more"] if more > 0 else [])])


def choose_engine(wanted: str, checkpoints: Path) -> str:
    """Name of the engine to use for `wanted`: auto takes diffusion when it is complete, else lite.

    Raises `EngineUnavailable` that says what is missing and what to do.
    """
    if wanted == "auto":
        wanted = "lite" if ENGINES["diffusion"].missing(checkpoints) else "diffusion"
    spec = ENGINES[wanted]
    missing = spec.missing(checkpoints)
    if missing:
        raise EngineUnavailable(
            ErrorCode.ENGINE_UNAVAILABLE,
            "Engine '{engine}' is not available on this server",
            "Missing: {missing}. {remedy}",
            engine=wanted,
            missing=some_of(missing),
            remedy=spec.remedy,
        )
    return wanted


def fingerprint(name: str, checkpoints: Path) -> str:
    """Changes whenever the same request could give another video: with the engine's revision, packages or weights."""
    spec = ENGINES[name]
    releases = [f"{package} {release}" for package, release in _releases(spec).items()]
    weights = [
        f"{file.relative_to(checkpoints)} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in _checkpoint_files(spec, checkpoints)
    ]
    return "; ".join([f"{name} revision {spec.revision}", *releases, *weights])


def versions(name: str) -> dict[str, str]:
    """Of this software, the engine (its revision), Python, and the packages that the result depends on."""
    spec = ENGINES[name]
    own = {"dice-talk-server": __version__, f"{name}-engine": str(spec.revision), "python": platform.python_version()}
    return own | _releases(spec)


def weight_files(name: str, checkpoints: Path) -> dict[str, Path]:
    """An engine's models by name: those in the checkpoints folder, and those that packages carry."""
    spec = ENGINES[name]
    found = {str(file.relative_to(checkpoints)): file for file in _checkpoint_files(spec, checkpoints)}
    return found | {inside: _package_file(inside) for inside in spec.package_files}


def weights_of(name: str, checkpoints: Path) -> str | None:
    """What an engine's weights are: "published", or words that say that they are something else; None without any."""
    return weights_label(checkpoints) if name == "diffusion" else None


def load_engine(name: str, checkpoints: Path, tuning: Tuning = DEFAULT_TUNING) -> Engine:
    """Loads an engine with its models. Slow: call once per process. `name`: lite or diffusion."""
    choose_engine(name, checkpoints)
    load = importlib.import_module(ENGINES[name].module).load
    engine: Engine = load(checkpoints, tuning) if ENGINES[name].tunable else load(checkpoints)
    return engine


def _releases(spec: EngineSpec) -> dict[str, str]:
    """Of the packages that are installed: an optional one that comes or goes changes the result too."""
    found = {}
    for package in dict.fromkeys((*spec.distributions, *SHARED_DISTRIBUTIONS)):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _checkpoint_files(spec: EngineSpec, checkpoints: Path) -> list[Path]:
    """All that are there, needed or not."""
    return [
        file
        for entry in (*spec.files, *spec.extras)
        for file in sorted([checkpoints / entry, *(checkpoints / entry).rglob("*")])
        if file.is_file()
    ]


def _package_file(name: str) -> Path:
    package, _, inside = name.partition("/")
    spec = find_spec(package)
    return Path(((spec and spec.submodule_search_locations) or ["/nonexistent"])[0]) / inside


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
