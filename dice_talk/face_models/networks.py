"""The model files of this folder, verified and run by OpenCV's dnn module."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

Blob = NDArray[np.float32]
"""`(N, C, H, W)`."""

FOLDER = Path(__file__).parent
SHA256 = {
    "face_detection_short_range.tflite": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_detection_full_range.tflite": "63734f6f2bb8fc677a95baba6fff1ece496304df70642c451e68ced6fd3ebb3d",
    "mesh_trunk.tflite": "6ff34a39c8ec0e4bf83429e4c2f351f43afe237a4bdcf4aaff8feb74b18bd084",
    "mesh_lips.tflite": "785e3532c5729b9387ff808f19049491a3ad1a2a61fe0e173e7b2733c575b69b",
    "mesh_left_eye.tflite": "bb166b66991d98fd440eb6239f9e05ece45a9be7b50f925ac19f3bab322c3ac9",
    "mesh_right_eye.tflite": "728bcd52786ae512faf76744a11bd5e3eb5932c977ceed38ed14326585a36914",
    "mesh_regions.json": "17462d62c414dcfb6062225aec66173517d3e3e003addc30fc293bfc0a89a508",
    "selfie_segmentation.tflite": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}
"""Hashes of the files that `scripts/derive_face_models.py` makes from MediaPipe's release."""


@dataclass(frozen=True)
class Network:
    """A loaded network. Must not be shared between threads."""

    net: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __call__(self, *blobs: Blob) -> Sequence[Blob]:
        """Return one output for each name in `outputs`. They stay valid after the next call."""
        for name, blob in zip(self.inputs, blobs, strict=True):
            self.net.setInput(blob, name)
        outputs: Sequence[Blob] = self.net.forward(self.outputs)
        return outputs


def load_network(file: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Network:
    """Load a network, given its file and the names of its inputs and outputs. Raises the same errors as `read`."""
    cv2.setNumThreads(1)  # two tasks share the machine, and more threads would only compete for it
    return Network(cv2.dnn.readNetFromTFLite(np.frombuffer(read(file), np.uint8)), inputs, outputs)


def read(file: str, folder: Path = FOLDER) -> bytes:
    """Return the content of a model file.

    Raises `EngineUnavailable` if it is not the released one, and `FileNotFoundError` if it is missing.
    """
    content = (folder / file).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[file]:
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED,
            f"The model file {file} is damaged",
            "Its SHA-256 is not that of the release. Restore dice_talk/face_models: with `git checkout "
            "dice_talk/face_models`, or by installing DICE-Talk Server again.",
        )
    return content
