"""The interface of engines: the protocol that they implement, and the spec that describes each of them.

An engine is loaded once per process and renders one job after another. `dice_talk.engines` lists the installed engines.
docs/engines.md explains how to write one.
"""

import importlib
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dice_talk.labels import UNNAMED, Labels
from dice_talk.options import Quality, RenderOptions


@dataclass(frozen=True)
class RenderJob:
    """One video to render. Both files were checked: `image` is a JPEG or PNG, `audio` a WAV or MP3."""

    image: Path
    audio: Path
    output: Path  # the engine writes the whole file; the caller renames it into place
    options: RenderOptions  # with a `seed`
    state: Path | None = None  # a file to save progress in and resume from, if the engine can; the caller deletes it
    labels: Labels = UNNAMED  # for `VideoWriter`


@dataclass(frozen=True)
class Progress:
    """The progress of a render. `fraction` in [0, 1] never decreases within one render."""

    stage: str  # one word for programs: "prepare", "listen", "render", ...
    message: str  # for people: "Generating video..."
    fraction: float
    step: int = 0  # of `steps` in this stage: denoising steps or frames; both are 0 if nothing is counted
    steps: int = 0
    preview: bytes | None = None  # a small JPEG of what the video will show; see `dice_talk.preview`


@dataclass(frozen=True)
class RenderResult:
    """The properties of the finished file."""

    width: int
    height: int
    fps: int
    frames: int
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)  # releases that affect the result; see `engines.versions`
    notes: list[str] = field(
        default_factory=list
    )  # for the receipt: how it was made, in sentences, if that is worth knowing


class Precision(StrEnum):
    """The numbers that an engine with a model computes in."""

    AUTO = "auto"
    FP16 = "fp16"
    BF16 = "bf16"
    FP32 = "fp32"


@dataclass(frozen=True)
class Tuning:
    """How an engine may use the machine. Results differ by rounding at most."""

    compiled: bool = False  # compile the model; loading then takes minutes
    all_gpus: bool = False  # use all GPUs for each video
    precision: Precision = Precision.AUTO  # auto: what suits the device


DEFAULT_TUNING = Tuning()

Report = Callable[[Progress], None]
"""Reports progress. Raises `Cancelled` if the task is to stop; engines let it pass through."""


class Engine(Protocol):
    """A loaded engine."""

    @property
    def name(self) -> str:
        """The name in its `EngineSpec`."""
        ...

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        """Render `job.output`. Raises `DiceTalkError` if the input is to blame, and `Cancelled` if told to stop."""
        ...


FOREIGN_ERRORS = (Exception, SystemExit)
"""What the code of other packages may raise, though it should not: anything."""
SHARED_DISTRIBUTIONS = ("numpy", "pillow", "soxr", "av")
"""Packages that read the inputs and write the file, for every engine."""
SYNTHETIC = frozenset(
    {"algorithmicMedia", "compositeSynthetic", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"}
)
"""The terms of IPTC's DigitalSourceType for synthetic videos."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_LIGHT_PATH = re.compile(r"[\w.]+:\w+")
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("module", "source_type", "summary", "remedy"), str),
    **dict.fromkeys(("one_process", "tunable", "gpu"), bool),
    "revision": int,
    "auto": (int, type(None)),
    "step_work": Mapping,
}


class SpecError(ValueError):
    """An `EngineSpec` contains an invalid value."""


@dataclass(frozen=True)
class SampleTiming:
    """How long a render took on some machine."""

    pixels: int  # per frame
    frames: int
    seconds: float
    steps: int = 1  # per frame, counted as exact ones; 1 for an engine without steps

    def __post_init__(self) -> None:
        if not all(isinstance(value, int) and value > 0 for value in (self.pixels, self.frames, self.steps)):
            raise SpecError("pixels, frames and steps of a timing are whole numbers above 0")
        if not (isinstance(self.seconds, int | float) and 0 < self.seconds < math.inf):
            raise SpecError("seconds of a timing is a number above 0")


_ELEMENTS: dict[str, type] = {
    **dict.fromkeys(("packages", "distributions", "package_files", "files", "extras"), str),
    "timings": SampleTiming,
}


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Everything that the rest of the software knows about an engine before it is loaded.

    Fields that name a function hold `"module:function"`. The module is imported when the function is first needed.
    Raises `SpecError`.
    """

    name: str
    module: str  # defines `load(checkpoints: Path) -> Engine`
    source_type: str  # the DigitalSourceType of its videos: one of `SYNTHETIC`
    summary: str = ""  # one sentence for users
    revision: int = 1  # raise it when the same request could give another video; see scripts/revisions.py
    auto: int | None = None  # rank for `engine=auto`, which takes the highest one without missing parts; None: never

    packages: tuple[str, ...] = ()  # required Python packages, by import name
    distributions: tuple[str, ...] = ()  # packages whose releases may change the result; they may be absent
    package_files: tuple[str, ...] = ()  # required models inside packages, as "import_name/path"
    files: tuple[str, ...] = ()  # required files in the checkpoints folder
    extras: tuple[str, ...] = ()  # optional files and folders there that change the result
    remedy: str = "Install what is missing, or use engine=auto."  # advice if something required is missing

    one_process: bool = False  # one process for all slots, which loads the weights once; else one process per slot
    tunable: bool = False  # `load` also takes a `Tuning`
    gpu: bool = False  # computes on a GPU if there is one
    step_work: Mapping[Quality, float] = field(default_factory=dict, hash=False)
    """The work of a denoising step at each `Quality`, relative to exact; empty for an engine without steps."""
    timings: tuple[SampleTiming, ...] = ()  # typical render times, used for forecasts until this machine has its own

    portrait_check: str = "dice_talk.portrait_check:check_faces"
    """For preflight: `(picture: Pixels, options: RenderOptions) -> tuple[PortraitFacts, list[Advice]]`."""
    weights: str | None = None  # `(checkpoints: Path) -> str`: "published", or a description of other weights
    doctor: str | None = None  # `(checkpoints: Path) -> Iterable[Finding]`, for `dice-talk doctor`

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and _NAME.fullmatch(self.name)) or self.name == "auto":
            raise SpecError(f"{self.name!r} cannot name an engine: lower-case letters, digits, - and _; auto is taken")
        for name, kind in _TYPES.items():
            if not isinstance(getattr(self, name), kind):
                raise SpecError(f"{name} of {self.name} has the wrong type: {getattr(self, name)!r}")
        for name, kind in _ELEMENTS.items():
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(one, kind) for one in value):
                raise SpecError(f"{name} of {self.name} is not a tuple of {kind.__name__}")
        for name in ("portrait_check", "weights", "doctor"):
            path = getattr(self, name)
            if path is not None and not (isinstance(path, str) and _LIGHT_PATH.fullmatch(path)):
                raise SpecError(f"{name} of {self.name} is not module:function, but {path!r}")
        if self.source_type not in SYNTHETIC:
            raise SpecError(f"source_type of {self.name} is not one of {', '.join(sorted(SYNTHETIC))}")
        wrong = [key for key, work in self.step_work.items() if key not in Quality or not 0 < work < math.inf]
        if wrong:
            raise SpecError(f"step_work of {self.name} is not a number above 0 for {wrong[0]!r}")

    def missing(self, checkpoints: Path) -> list[str]:
        """Return what is required and missing; empty if the engine can be loaded."""
        if not importable(self.module):
            return [f"the package that provides the {self.name} engine"]
        packages = [f"Python package {name}" for name in self.packages if not importable(name)]
        models = [f"model {name}" for name in self.package_files if not packages and not package_file(name).exists()]
        files = [f"checkpoint {name}" for name in self.files if not (checkpoints / name).exists()]
        return packages + models + files

    def releases(self) -> dict[str, str]:
        """Return the releases of installed packages. Optional ones count too, because they change the result."""
        found = {}
        for package in dict.fromkeys((*self.distributions, *SHARED_DISTRIBUTIONS)):
            with suppress(PackageNotFoundError):
                found[package] = version(package)
        return found

    def checkpoint_files(self, checkpoints: Path) -> list[Path]:
        """Return all checkpoint files that exist, required or not."""
        return [
            file
            for entry in (*self.files, *self.extras)
            for file in sorted([checkpoints / entry, *(checkpoints / entry).rglob("*")])
            if file.is_file()
        ]

    def steps(self, options: RenderOptions) -> int:
        """Return the denoising steps per frame, counted as exact ones; 1 for an engine without steps."""
        if not self.step_work:
            return 1
        return max(1, round(options.inference_steps * self.step_work.get(options.quality, 1.0)))


@cache
def resolve(path: str) -> Any:
    """Return the function that `"module:function"` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def package_file(name: str) -> Path:
    """Return the path of a file in a package, from the package's import name and the path in it."""
    package, _, inside = name.partition("/")
    try:
        spec = find_spec(package)
    except Exception:  # noqa: BLE001 - it imports the parent package, which may be missing or broken
        spec = None
    return Path(((spec and spec.submodule_search_locations) or ["/nonexistent"])[0]) / inside


def importable(module: str) -> bool:
    """Whether a module can be found, without importing it. Never raises."""
    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001 - it imports the parent package, which is missing or broken
        return False
