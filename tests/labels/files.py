"""Videos with labels, and what others than ourselves read in them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np

from dice_talk.engine import RenderResult
from dice_talk.labels import Labels
from dice_talk.video import VideoWriter

KEYS = ["Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"]


NAMED = Labels(content_producer="某某公司", produce_id="f47ac10b-58cc-4372-a567-0e02b2c3d479")


def write(
    path: Path, labels: Labels, *, fps: int = 24, frames: int = 6, side: int = 128, pixels: Any = 128
) -> RenderResult:
    with VideoWriter(
        path,
        width=side,
        height=side,
        fps=fps,
        frames=frames,
        sound=np.zeros((8000, 1), np.float32),
        rate=16000,
        metadata={"seed": 3},
        labels=labels,
    ) as writer:
        for _ in range(frames):
            writer.write(np.full((side, side, 3), pixels, np.uint8))
    return RenderResult(side, side, fps, frames, frames / fps, {"lite-engine": "1"})


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def tags(path: Path) -> dict[str, str]:
    """As ffprobe sees them."""
    if shutil.which("ffprobe") is None:
        with av.open(str(path)) as container:
            return dict(container.metadata)
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "json", str(path)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["format"]["tags"])
