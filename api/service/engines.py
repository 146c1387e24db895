"""The engines that requests may name: what each lacks on this server, and which options it takes no notice of."""

from pathlib import Path

from api.schemas.service import EngineFound, Engines
from dice_talk.engines import choose_engine, ranked, some_of
from dice_talk.errors import EngineUnavailable

STEP_OPTIONS = ("inference_steps", "quality")
"""Options about denoising steps, which mean nothing to an engine without any."""


def list_engines(auto: str, checkpoints: Path) -> Engines:
    """Return all engines. `auto`: the setting that says what engine=auto means."""
    try:
        chosen = choose_engine(auto, checkpoints)
    except EngineUnavailable:
        chosen = None
    engines = []
    for spec in ranked():
        missing = spec.missing(checkpoints)
        engines.append(
            EngineFound(
                name=spec.name,
                summary=spec.summary,
                available=not missing,
                missing=some_of(missing) if missing else None,
                remedy=spec.remedy if missing else None,
                ignores=[] if spec.step_work else list(STEP_OPTIONS),
            )
        )
    return Engines(auto=chosen, engines=engines)
