"""The seam between the service and whatever renders: one protocol, and the spec by which an engine is known.

An engine is loaded once per process and renders one job after another. `dice_talk.engines` knows which engines are
installed. How to write one: docs/engines.md.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dice_talk.labels import UNNAMED, Labels
from dice_talk.options import Quality, RenderOptions


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
        """That of its `EngineSpec`."""
        ...

    def render(self, job: RenderJob, report: Report) -> RenderResult:
        """Makes `job.output`. Raises `DiceTalkError` where the input is to blame, `Cancelled` when told to stop."""
        ...


SHARED_DISTRIBUTIONS = ("numpy", "pillow", "soxr", "av")
"""What reads the inputs and writes the file, whichever engine renders."""
SYNTHETIC = frozenset(
    {"algorithmicMedia", "compositeSynthetic", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"}
)
"""The terms of IPTC's DigitalSourceType that say that a video is synthetic."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_LIGHT_PATH = re.compile(r"[\w.]+:\w+")


class SpecError(ValueError):
    """An `EngineSpec` says something that cannot be."""


@dataclass(frozen=True)
class SampleTiming:
    """How long a render took somewhere."""

    pixels: int  # of a frame
    frames: int
    seconds: float
    steps: int = 1  # for each frame, in full; 1 where there are none


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """All that the rest of the software knows of an engine before it is loaded. Made without importing it.

    Fields that name a function hold `"module:function"`; the module is imported when the function is first needed.
    Raises `SpecError`.
    """

    name: str
    module: str  # has `load(checkpoints: Path) -> Engine`
    source_type: str  # of its videos: one of `SYNTHETIC`
    summary: str = ""  # for people: one sentence
    revision: int = 1  # raised when the same request could give another video; see scripts/revisions.py
    auto: int | None = None  # rank in `engine=auto`, which takes the highest that is complete; None: never taken

    packages: tuple[str, ...] = ()  # by import name
    distributions: tuple[str, ...] = ()  # whose releases may change the result, if they are installed
    package_files: tuple[str, ...] = ()  # models that packages carry, by import name and path
    files: tuple[str, ...] = ()  # under the checkpoints folder
    extras: tuple[str, ...] = ()  # files and folders there that it does without, though they change the result
    remedy: str = "Install what is missing, or use engine=auto."

    one_process: bool = False  # one process serves all slots, so that the weights are held once; else one per slot
    tunable: bool = False  # its `load` takes a `Tuning` too
    step_work: Mapping[Quality, float] = field(default_factory=dict, hash=False)
    """Work of a denoising step by `Quality`, 1 for exact; empty for an engine without steps."""
    timings: tuple[SampleTiming, ...] = ()  # from a fast machine to a slow one: for a machine's first renders

    portrait_check: str = "dice_talk.portrait_check:check_faces"
    """`(picture: Pixels, options: RenderOptions) -> tuple[PortraitFacts, list[Advice]]`, for preflight."""
    weights: str | None = None  # `(checkpoints: Path) -> str`: "published", or what the weights are instead
    doctor: str | None = None  # `(checkpoints: Path) -> Iterable[Finding]`, for `dice-talk doctor`

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == "auto":
            raise SpecError(f"{self.name!r} cannot name an engine: lower-case letters, digits, - and _; auto is taken")
        for name in ("packages", "distributions", "package_files", "files", "extras", "timings"):
            if not isinstance(getattr(self, name), tuple):
                raise SpecError(f"{name} of {self.name} is not a tuple")
        for name in ("portrait_check", "weights", "doctor"):
            path = getattr(self, name)
            if path is not None and not _LIGHT_PATH.fullmatch(path):
                raise SpecError(f"{name} of {self.name} is not module:function, but {path!r}")
        if self.source_type not in SYNTHETIC:
            raise SpecError(f"source_type of {self.name} is not one of {', '.join(sorted(SYNTHETIC))}")

    def missing(self, checkpoints: Path) -> list[str]:
        """What has to be there and is not; empty when the engine can be loaded."""
        if not _importable(self.module):
            return [f"this release of DICE-Talk Server does not contain the {self.name} engine"]
        packages = [f"Python package {name}" for name in self.packages if not _importable(name)]
        models = [f"model {name}" for name in self.package_files if not packages and not package_file(name).exists()]
        files = [f"checkpoint {name}" for name in self.files if not (checkpoints / name).exists()]
        return packages + models + files

    def releases(self) -> dict[str, str]:
        """Of the packages that are installed: an optional one that comes or goes changes the result too."""
        found = {}
        for package in dict.fromkeys((*self.distributions, *SHARED_DISTRIBUTIONS)):
            with suppress(PackageNotFoundError):
                found[package] = version(package)
        return found

    def checkpoint_files(self, checkpoints: Path) -> list[Path]:
        """All of its files that are there, needed or not."""
        return [
            file
            for entry in (*self.files, *self.extras)
            for file in sorted([checkpoints / entry, *(checkpoints / entry).rglob("*")])
            if file.is_file()
        ]

    def steps(self, options: RenderOptions) -> int:
        """Denoising steps of a frame, in full ones; 1 for an engine without steps."""
        if not self.step_work:
            return 1
        return max(1, round(options.inference_steps * self.step_work.get(options.quality, 1.0)))


@cache
def resolve(path: str) -> Any:
    """The function that `"module:function"` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def package_file(name: str) -> Path:
    """A file that a package carries, by the package's import name and the path in it."""
    package, _, inside = name.partition("/")
    spec = find_spec(package)
    return Path(((spec and spec.submodule_search_locations) or ["/nonexistent"])[0]) / inside


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001 - it imports the parent package, which is missing or broken
        return False
