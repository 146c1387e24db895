"""Previews: small, and labelled."""

import io

import numpy as np
import pytest
from PIL import Image

from dice_talk.cleaning import MOST_IN_PREVIEW
from dice_talk.labels import UNNAMED
from dice_talk.preview import SIDE, encode_preview


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 48), (512, 256), (2048, 2048)])
def test_any_size(height: int, width: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)  # the hardest to compress
    encoded = encode_preview(noise, UNNAMED)
    picture = Image.open(io.BytesIO(encoded))
    assert max(picture.size) == min(SIDE, max(height, width))
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.05)
    assert len(encoded) < MOST_IN_PREVIEW


def test_it_says_that_it_is_synthetic() -> None:
    encoded = encode_preview(np.zeros((8, 8, 3), np.uint8), UNNAMED)
    assert Image.open(io.BytesIO(encoded)).info["comment"].decode() == UNNAMED.aigc
