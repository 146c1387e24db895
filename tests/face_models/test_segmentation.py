from pathlib import Path

import numpy as np
import pytest

from dice_talk.face_models.segmentation import PersonSegmenter, load_segmenter
from dice_talk.image import load_portrait


@pytest.fixture(scope="module")
def segmenter() -> PersonSegmenter:
    return load_segmenter()


def test_a_mask_has_the_pictures_size_and_shows_where_the_person_is(segmenter: PersonSegmenter, portrait: Path) -> None:
    picture = load_portrait(portrait)[:, 20:-40]
    mask = segmenter(picture)
    assert mask.shape == picture.shape[:2] and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1.001
    height, width = mask.shape
    assert mask[height // 2, width // 2] > 0.9 > 0.1 > mask[5, 5]


def test_nobody_is_in_plain_grey(segmenter: PersonSegmenter) -> None:
    assert segmenter(np.full((90, 120, 3), 127, np.uint8)).max() < 0.5
