"""Saves the state of a render's denoising to disk, so that it can resume after a crash or a restart.

The noise is drawn before the first step, and the position of windows follows from the step number, so the latents after
a step determine everything that follows.
"""

import hashlib
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dice_talk.atomic import atomic_path, discard_partial
from dice_talk.engine import RenderJob

SAVE_SECONDS = 30.0
"""No more than this much work plus one step is lost. For 300 s of video at 512 px, 250 MB are written in about a
second.
"""
_LATENTS, _STEP, _FINGERPRINT, _CHECKSUM = "latents", "step", "fingerprint", "checksum"
logger = logging.getLogger(__name__)


@dataclass
class State:
    """The state in the file `path`, if any. It is valid only for renders with the same `fingerprint`."""

    path: Path | None
    fingerprint: str
    _saved: float = field(default_factory=time.monotonic)
    _latest: tuple[int, Tensor] | None = None  # not saved yet

    def load(self) -> tuple[int, Tensor] | None:
        """Return the number of finished steps and the latents, or None if there is no usable state."""
        if self.path is None:
            return None
        discard_partial(self.path)
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                noted = file.metadata() or {}
                if noted.get(_FINGERPRINT) != self.fingerprint:
                    raise ValueError("it belongs to another render")
                latents: Tensor = file.get_tensor(_LATENTS)
                if noted[_CHECKSUM] != _checksum(noted[_STEP], latents):
                    raise ValueError("it is damaged")
        except (OSError, ValueError, LookupError, SafetensorError) as error:
            logger.warning("The render starts over, because its state can't be used: %s", error)
            return None
        logger.info("The render resumes after step %s", noted[_STEP])
        return int(noted[_STEP]), latents

    def update(self, step: int, latents: Tensor) -> None:
        """Remember the latents after `step`, and save them unless the last save was recent."""
        self._latest = step, latents
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the remembered latents. A full disk does not end the render."""
        if self.path is None or self._latest is None:
            return
        (step, latents), self._latest = self._latest, None
        noted = {_STEP: str(step), _FINGERPRINT: self.fingerprint, _CHECKSUM: _checksum(str(step), latents)}
        try:
            with atomic_path(self.path) as part:
                save_file({_LATENTS: latents}, part, noted)
        except (OSError, SafetensorError) as error:
            logger.warning("The state of a render can't be saved: %s", error)
        self._saved = time.monotonic()


def state_of(job: RenderJob, engine: str) -> State:
    """Return the state of `job`. `engine`: changes with everything besides the job that affects the latents."""
    if job.state is None:
        return State(None, "")
    digest = hashlib.sha256()
    for part in (job.image.read_bytes(), job.audio.read_bytes(), job.options.model_dump_json().encode()):
        digest.update(hashlib.sha256(part).digest())
    return State(job.state, f"{digest.hexdigest()}; {engine}")


def _checksum(step: str, latents: Tensor) -> str:
    digest = hashlib.sha256(step.encode())
    digest.update(latents.numpy())
    return digest.hexdigest()
