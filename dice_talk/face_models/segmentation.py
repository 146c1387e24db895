"""Person segmentation: which pixels show a person."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.face_models import views
from dice_talk.face_models.networks import Network, load_network
from dice_talk.image import Pixels

_SIDE = 256

Mask = NDArray[np.float32]
"""Probability that a pixel shows a person, `(H, W)` in [0, 1]."""


@dataclass(frozen=True)
class PersonSegmenter:
    """A loaded segmenter. Must not be shared between threads."""

    network: Network

    def __call__(self, picture: Pixels) -> Mask:
        """Return the probability that each pixel of an RGB picture shows a person, `(H, W)` in [0, 1]."""
        pixels = views.cut(picture, views.whole(picture), _SIDE, cv2.BORDER_CONSTANT)
        (small,) = self.network(views.blob(pixels))
        mask: Mask = cv2.resize(small[0, 0], (picture.shape[1], picture.shape[0]))
        return mask


def load_segmenter() -> PersonSegmenter:
    """Load the segmenter, which is made for people near the camera."""
    return PersonSegmenter(load_network("selfie_segmentation.tflite", ("input_1",), ("activation_10",)))
