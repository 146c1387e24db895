"""Chooses the face detector: the published one if its file is present, then insightface, then our own."""

import logging
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dice_talk.detect import load_detector
from dice_talk.diffusion.files import INSIGHTFACE, YOLOFACE
from dice_talk.face import Box, Detector
from dice_talk.image import Pixels

_SHORT_SIDE, _SIDE_STEP = 416, 32
_STRIDES = (8, 16, 32)
_CONFIDENCE, _SAME_FACE_IOU = 0.5, 0.45
_OBJECTNESS, _CLASSES = 4, 15  # columns; the ten between them are landmarks
_INSIGHTFACE_SIDE = 640
logger = logging.getLogger(__name__)


def choose_detector(checkpoints: Path) -> Detector:
    """Return the best detector that is present and usable. Must not be shared between threads."""
    for name, load in _candidates(checkpoints):
        detector = _loaded(name, load)
        if detector:
            logger.info("Face detector: %s", name)
            return detector
    logger.info("Face detector: built in")
    return load_detector()


def check(checkpoints: Path) -> list[str]:
    """Return the names of detectors that are present but unusable."""
    return [name for name, load in _candidates(checkpoints) if not _loaded(name, load)]


def _loaded(name: str, load: Callable[[], Detector]) -> Detector | None:
    """Load a detector. Returns None and logs a warning if its files are unusable: there is always another detector."""
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - what onnxruntime and torch raise for junk has no common base
        logger.warning("The face detector %s can't be used: %s", name, type(error).__name__)
        return None


def _candidates(checkpoints: Path) -> Iterator[tuple[str, Callable[[], Detector]]]:
    """Yield the detectors in the folder, best first."""
    if (checkpoints / YOLOFACE).exists():
        yield "yoloface", lambda: yoloface(torch.jit.load(checkpoints / YOLOFACE, map_location="cpu").eval())
    models = sorted((checkpoints / INSIGHTFACE / "models").glob("*/*.onnx"))
    if models and find_spec("insightface"):
        yield "insightface", lambda: insightface(checkpoints / INSIGHTFACE, models[0].parent.name)


def yoloface(network: Any) -> Detector:
    """Wrap the published detector. `network(image (1, 3, H, W), grids)` returns rows (1, N, 16) or (N, 16).

    A row has centre x, centre y, width and height in pixels of `image`, objectness, ten landmark numbers and class
    scores.
    """

    def detect(picture: Pixels) -> list[Box]:
        image = _network_image(picture)
        height, width = image.shape[2:]
        with torch.inference_mode():
            rows = network(image, grids(height, width))
        rows = rows.reshape(-1, rows.shape[-1]).float()
        scores = rows[:, _OBJECTNESS] * rows[:, _CLASSES:].amax(1)
        scale = torch.tensor([picture.shape[1] / width, picture.shape[0] / height] * 2)
        sure = scores > _CONFIDENCE
        return distinct(_corners(rows[sure, :4]) * scale, scores[sure])

    return detect


def insightface(root: Path, name: str) -> Detector:
    """Load insightface's detector with the models in `root`/models/`name`/*.onnx."""
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=name, root=str(root), allowed_modules=["detection"])
    app.prepare(ctx_id=0, det_thresh=_CONFIDENCE, det_size=(_INSIGHTFACE_SIDE, _INSIGHTFACE_SIDE))

    def detect(picture: Pixels) -> list[Box]:
        faces = app.get(np.ascontiguousarray(picture[..., ::-1]))  # insightface expects BGR
        return [Box(*(float(edge) for edge in face.bbox)) for face in faces]

    return detect


def grids(height: int, width: int) -> list[Tensor]:
    """Return the x and y of the cells for each stride: (1, 1, ny, nx, 2)."""
    made = []
    for stride in _STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        made.append(torch.stack((x, y), -1)[None, None].float())
    return made


def distinct(boxes: Tensor, scores: Tensor) -> list[Box]:
    """Non-maximum suppression: drops boxes (N, 4) that overlap a more certain one too much. Most certain first."""
    left = boxes[scores.argsort(descending=True)]
    kept: list[Box] = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(Box(*best.tolist()))
        left = left[_iou(best, left) <= _SAME_FACE_IOU]
    return kept


def _network_image(picture: Pixels) -> Tensor:
    """Return (1, 3, H, W) in [0, 1]. The short side is 416, and the other is rounded up to a multiple of 32."""
    size = _network_size(*picture.shape[:2])
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    return functional.interpolate(image, size, mode="bilinear", align_corners=False)


def _network_size(height: int, width: int) -> tuple[int, int]:
    """Sides are rounded down to whole pixels first, as in the published code: 1024 x 1025 gives 416 x 416."""
    short, step = min(height, width), _SIDE_STEP
    high, wide = ((side * _SHORT_SIDE // short + step - 1) // step * step for side in (height, width))
    return high, wide


def _corners(rows: Tensor) -> Tensor:
    """Convert centres and sizes (N, 4) to left, top, right, bottom."""
    return torch.cat((rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2), 1)


def _iou(box: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of a box (4,) with each of `others` (N, 4)."""
    sides = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
    shared = sides.prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared)
