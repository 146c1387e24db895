"""What the server tells its driver, and the driver tells the actors."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from dice_talk import __version__
from dice_talk.engines import ENGINES, spec_of

PREFIX = "dice-talk-"
"""What the namespaces of all releases begin with."""


@dataclass(frozen=True)
class Plan:
    """The same for as long as a server runs."""

    address: str  # of the cluster, as Ray takes it
    server: str  # differs with each start of a server
    engine: str  # loaded ahead
    identities: Mapping[str, str]  # by engine; see `identity`
    commands: Mapping[str, list[str]]  # by engine: the arguments of Python that serve it
    checkpoints: str  # as it occurs in `commands`; nodes put their own in its place
    load_seconds: float
    stall_seconds: float
    lease_seconds: float  # actors end themselves when no server has spoken for so long
    max_slots: int
    idle_seconds: float  # slots that are idle for so long end; 0: never

    @property
    def namespace(self) -> str:
        """A name for the actors of servers that render alike. Others have actors of their own."""
        alike = [dict(self.identities), dict(self.commands), self.checkpoints, self.load_seconds, self.stall_seconds]
        digest = hashlib.sha256(json.dumps([*alike, self.lease_seconds], sort_keys=True).encode())
        return f"{PREFIX}{__version__}-{digest.hexdigest()[:16]}"

    def to_json(self) -> dict[str, Any]:
        """Return the plan, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Return the plan that `to_json` described."""
        return cls(**facts)


def identity(engine: str, checkpoints: Path) -> str:
    """Return a text that is equal on two machines whose engines give the same videos. Blocking.

    Unlike `dice_talk.engines.fingerprint`, it leaves out when files were written: copies are as good.
    """
    spec = spec_of(engine)
    releases = [f"{package} {release}" for package, release in spec.releases().items()]
    weights = [f"{file.relative_to(checkpoints)} {file.stat().st_size}" for file in spec.checkpoint_files(checkpoints)]
    return "; ".join([f"{engine} revision {spec.revision} of {__version__}", *releases, *weights])


def identities(checkpoints: Path) -> dict[str, str]:
    """Return the identity of every engine that is complete here. Blocking."""
    return {name: identity(name, checkpoints) for name, spec in ENGINES.items() if not spec.missing(checkpoints)}
