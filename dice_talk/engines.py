"""The installed engines: the built-in ones, and those that other packages provide.

A package provides an engine by an entry point of the group `dice_talk.engines`: its name is the engine's, its value an
`EngineSpec`. An engine that cannot be used is left out and listed in `REFUSED`; see decision 0021.
"""

import importlib
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dice_talk import __version__
from dice_talk.cleaning import clean_text
from dice_talk.diffusion.spec import SPEC as DIFFUSION
from dice_talk.engine import (
    DEFAULT_TUNING,
    FOREIGN_ERRORS,
    Engine,
    EngineSpec,
    Precision,
    SpecError,
    Tuning,
    package_file,
    resolve,
)
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable
from dice_talk.lite.spec import SPEC as LITE

GROUP = "dice_talk.engines"
BUILT_IN = (DIFFUSION, LITE)
UNKNOWN_WEIGHTS = "unknown weights"
"""The label if an engine cannot tell what its weights are."""
_REASON_LENGTH, _LABEL_LENGTH = 200, 100


@dataclass(frozen=True)
class RefusedEngine:
    """An engine of another package that cannot be used. As text: one line for the operator."""

    name: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"The engine {self.name} of the package {self.package} cannot be used: {self.reason}"


def collect(points: Iterable[EntryPoint]) -> tuple[dict[str, EngineSpec], list[RefusedEngine]]:
    """Return the built-in engines and those of `points` by name, and those that cannot be used. Never raises."""
    engines, refused = {spec.name: spec for spec in BUILT_IN}, []
    for point in sorted(points, key=lambda point: (point.name, _package(point))):
        try:
            with _stdout_to_stderr():  # programs read what engines and commands print
                spec = _load(point)
                if spec.name in engines:
                    raise SpecError("another engine has this name already")
                spec.missing(Path())  # what the service asks of every engine must not raise
            engines[spec.name] = spec
        except FOREIGN_ERRORS as error:
            reason = str(error) if isinstance(error, SpecError) else f"{type(error).__name__}: {error}"
            line = " ".join(reason.split())[:_REASON_LENGTH]
            refused.append(RefusedEngine(point.name, _package(point), line))
    return engines, refused


def _load(point: EntryPoint) -> EngineSpec:
    """Return the spec that an entry point names, with its package among the distributions."""
    spec = point.load()
    if not isinstance(spec, EngineSpec):
        raise SpecError(f"{point.value} is not an EngineSpec, but of type {type(spec).__name__}")
    if spec.name != point.name:
        raise SpecError(f"the entry point is named {point.name}, and its engine {spec.name}")
    return replace(spec, distributions=tuple(dict.fromkeys((*spec.distributions, _package(point)))))


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send to standard error whatever is written to standard output, also by libraries in C and by child processes."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))
        with suppress(OSError):  # one of the two is closed
            kept = os.dup(1)
            stack.callback(os.close, kept)
            _flush_stdout()
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
            stack.callback(_flush_stdout)
        yield


def _flush_stdout() -> None:
    if sys.__stdout__ is not None:
        with suppress(OSError, ValueError):
            sys.__stdout__.flush()


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"


def _installed() -> tuple[dict[str, EngineSpec], list[RefusedEngine]]:
    try:
        points: Iterable[EntryPoint] = entry_points(group=GROUP)
    except Exception as error:  # noqa: BLE001 - one package with damaged metadata, whatever it is for
        return collect([])[0], [RefusedEngine("?", "unknown", f"entry points cannot be read: {error}")]
    return collect(points)


ENGINES, REFUSED = _installed()

if TYPE_CHECKING:
    EngineChoice = str
else:
    EngineChoice = Literal["auto", *ENGINES]
"""What requests and settings may name: auto, or one of `ENGINES`."""


def ranked() -> list[EngineSpec]:
    """Return all engines: those that `auto` may use, lowest rank first, then the others."""
    return sorted(ENGINES.values(), key=lambda spec: (spec.auto is None, spec.auto or 0, spec.name))


def in_words(names: Sequence[str], conjunction: str = "or") -> str:
    """Return `a, b or c`."""
    return f" {conjunction} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def describe_choice() -> str:
    """Describe the request option `engine`."""
    *better, last = [spec for spec in reversed(ranked()) if spec.auto is not None]
    cases = [f"{spec.name} when {'its checkpoints are' if spec.files else 'it is'} complete" for spec in better]
    others = [f" {spec.name}: {spec.summary}" for spec in ranked() if spec not in BUILT_IN and spec.summary]
    return f"What renders: auto takes {', '.join([*cases, f'else {last.name}'])}.{''.join(others)}"


def spec_of(name: str) -> EngineSpec:
    """Return the spec of an engine. For one that is no longer installed, it is a spec that lacks everything.

    Tasks outlive the packages that provide engines.
    """
    return ENGINES.get(name) or EngineSpec(
        name=name,
        module="dice_talk.no_such_engine",
        source_type="compositeSynthetic",
        remedy="Install it, or use engine=auto.",
    )


def some_of(missing: Sequence[str], most: int = 3) -> str:
    """Return the first few in one line. `dice-talk doctor` lists all."""
    more = len(missing) - most
    return "; ".join([*missing[:most], *([f"{more} more"] if more > 0 else [])])


def choose_engine(wanted: str, checkpoints: Path) -> str:
    """Return the name of the engine for `wanted`: auto means diffusion if it is complete, else lite.

    Engines of other packages may rank among them. Raises `EngineUnavailable`, which says what is missing.
    """
    automatic = [spec for spec in reversed(ranked()) if spec.auto is not None]
    for spec in automatic if wanted == "auto" else [spec_of(wanted)]:
        missing = spec.missing(checkpoints)
        if not missing:
            return spec.name
    raise EngineUnavailable(
        ErrorCode.ENGINE_UNAVAILABLE,
        "Engine '{engine}' is not available on this server",
        "Missing: {missing}. {remedy}",
        engine=spec.name,
        missing=some_of(missing),
        remedy=spec.remedy,
    )


def fingerprint(name: str, checkpoints: Path, precision: Precision = Precision.AUTO) -> str:
    """Return a text that changes if the same request could give another video.

    It changes with revision, packages and weights and, if the engine is told of it, with the `precision`.
    """
    spec = spec_of(name)
    chosen = [f"in {precision}"] if spec.tunable and precision is not Precision.AUTO else []
    releases = [f"{package} {release}" for package, release in spec.releases().items()]
    weights = [
        f"{file.relative_to(checkpoints)} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in spec.checkpoint_files(checkpoints)
    ]
    return "; ".join([f"{name} revision {spec.revision}", *chosen, *releases, *weights])


def versions(name: str) -> dict[str, str]:
    """Return the versions of this software, the engine, Python, and the packages that the result depends on."""
    spec = spec_of(name)
    own = {"dice-talk-server": __version__, f"{name}-engine": str(spec.revision), "python": platform.python_version()}
    return own | spec.releases()


def weight_files(name: str, checkpoints: Path) -> dict[str, Path]:
    """Return an engine's models by name: those in the checkpoints folder, and those in packages."""
    spec = spec_of(name)
    found = {str(file.relative_to(checkpoints)): file for file in spec.checkpoint_files(checkpoints)}
    return found | {inside: package_file(inside) for inside in spec.package_files}


def weights_of(name: str, checkpoints: Path) -> str | None:
    """Return what an engine's weights are: "published", or what they are instead; None without any."""
    label = spec_of(name).weights
    if label is None:
        return None
    try:
        return clean_text(resolve(label)(checkpoints), _LABEL_LENGTH)
    except FOREIGN_ERRORS:  # every status asks
        return UNKNOWN_WEIGHTS


def load_engine(name: str, checkpoints: Path, tuning: Tuning = DEFAULT_TUNING) -> Engine:
    """Load an engine with its models. Slow: call it once per process. Raises `EngineUnavailable`."""
    choose_engine(name, checkpoints)
    spec = ENGINES[name]
    load = importlib.import_module(spec.module).load
    engine: Engine = load(checkpoints, tuning) if spec.tunable else load(checkpoints)
    return engine
