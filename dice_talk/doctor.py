"""Reports what is installed, missing or broken, and what this machine can render, engine by engine."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dice_talk.engine import FOREIGN_ERRORS, EngineSpec, importable, resolve
from dice_talk.engines import BUILT_IN, REFUSED, choose_engine, ranked
from dice_talk.errors import EngineUnavailable
from dice_talk.options import MAX_DURATION_S

GOOD, NOTE, BAD = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `grade`: ok, note or problem. `fatal`: the engine cannot be loaded because of it."""

    grade: str
    subject: str
    words: str
    fatal: bool = False


def examine(checkpoints: Path) -> Iterator[Finding]:
    """Return everything worth knowing about this installation, line by line."""
    yield from _packages()
    broken = set()
    for spec in ranked():
        for finding in _section(spec, checkpoints):
            if finding.fatal:
                broken.add(spec.name)
            yield finding
    for refused in REFUSED:
        yield Finding(BAD, f"engine {refused.name}", str(refused))
    yield _engine(checkpoints, broken)


def _packages() -> Iterator[Finding]:
    """Packages that are not there are left out where an engine lacks all that it needs: it is not installed."""
    wanted = [spec for spec in ranked() if not spec.packages or any(map(importable, spec.packages))]
    expected = {name for spec in wanted for name in spec.distributions}
    for name in dict.fromkeys(name for spec in ranked() for name in spec.distributions):
        release = _release(name)
        if release or name in expected:
            yield Finding(GOOD if release else NOTE, f"package {name}", release or "not installed")


def _release(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _section(spec: EngineSpec, checkpoints: Path) -> Iterator[Finding]:
    """Return an engine's own findings, or what it lacks if it has none."""
    if spec.doctor:
        try:
            for finding in resolve(spec.doctor)(checkpoints):
                yield _checked(finding)
        except FOREIGN_ERRORS as error:  # the report goes on
            yield Finding(BAD, f"engine {spec.name}", f"cannot be examined: {type(error).__name__}: {error}")
    elif spec not in BUILT_IN:
        missing = spec.missing(checkpoints)
        words = f"missing: {'; '.join(missing)}. {spec.remedy}" if missing else "complete"
        yield Finding(NOTE if missing else GOOD, f"engine {spec.name}", words)


def _checked(finding: object) -> Finding:
    """Raises `TypeError` for what an engine gives instead of a finding."""
    if isinstance(finding, Finding) and finding.grade in (GOOD, NOTE, BAD):
        return finding
    raise TypeError(f"not a finding: {finding!r}"[:200])


def _engine(checkpoints: Path, broken: set[str]) -> Finding:
    """Return the engine that auto uses. `broken`: names of engines that cannot be loaded."""
    try:
        name = choose_engine("auto", checkpoints)
    except EngineUnavailable as error:
        return Finding(BAD, "engine", f"none: {error}. {error.detail}")
    if name in broken:
        simplest = ranked()[0].name
        return Finding(BAD, "engine", f"{name}, which can't be loaded: mend it, or set DICE_TALK_ENGINE={simplest}")
    return Finding(GOOD, "engine", f"{name}; longest video {MAX_DURATION_S:g} s")
