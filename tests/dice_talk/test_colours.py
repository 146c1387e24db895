import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from dice_talk import colours
from dice_talk.colours import profile_of, to_srgb

SRGB = bytes((1, 13, 0, 1))
"""BT.709 primaries and sRGB's curve, as PNG's cICP says them."""


@pytest.mark.parametrize("primaries", sorted(colours._PRIMARIES))
def test_white_is_white_under_any_primaries(primaries: int) -> None:
    """XYZ under D50 of full red, green and blue together."""
    assert colours._to_xyz(colours._PRIMARIES[primaries]).sum(axis=1) == pytest.approx(colours._D50, abs=1e-3)


def test_srgbs_matrix_is_the_published_one() -> None:
    """IEC 61966-2-1, adapted to D50 (as in the ICC's sRGB profiles)."""
    published = [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]
    assert colours._to_xyz(colours._BT709) == pytest.approx(np.array(published), abs=5e-4)


@pytest.mark.parametrize("number", sorted(colours._TRANSFERS))
def test_transfer_curves_rise_from_black(number: int) -> None:
    light = colours._TRANSFERS[number](np.linspace(0, 1, 257))
    assert light[0] == pytest.approx(0, abs=1e-6) and (np.diff(light) >= 0).all() and light[-1] >= 1 - 1e-9


@pytest.mark.parametrize(("curve", "signal"), [(colours._pq, 0.5807), (colours._hlg, 0.75)])
def test_paper_white_of_high_dynamic_range(curve: colours.Transfer, signal: float) -> None:
    """ITU-R BT.2408: 203 nits, which is 58 % of PQ's signal and 75 % of HLG's."""
    assert curve(np.array(signal)) == pytest.approx(1, abs=0.01)


def test_a_profile_is_one_that_others_read() -> None:
    profile = profile_of({}, SRGB)
    assert profile is not None and struct.unpack(">I", profile[:4])[0] == len(profile)
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))) is not None
    ramp = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    assert np.abs(np.asarray(to_srgb(ramp, profile)).astype(int) - np.asarray(ramp)).max() <= 1


@pytest.mark.parametrize(
    "cicp", [b"", bytes((2, 13, 0, 1)), bytes((1, 2, 0, 1)), bytes((1, 13, 1, 1)), bytes((1, 13, 0, 0))]
)
def test_code_points_that_say_nothing_useful_are_passed_over(cicp: bytes) -> None:
    assert profile_of({}, cicp) is None
    assert profile_of({"icc_profile": b"own"}, cicp) == b"own"


@pytest.mark.parametrize(
    ("info", "known"),
    [
        ({}, False),
        ({"gamma": 0.45455}, False),
        ({"gamma": 0.45455, "srgb": 0}, False),
        ({"gamma": 1.0, "srgb": 0}, False),
        ({"gamma": 1.0}, True),
        ({"gamma": 1e-9}, True),
        ({"gamma": 0.45455, "chromaticity": (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)}, True),
        ({"gamma": 1.0, "chromaticity": (0.3127, 0.329)}, False),
        ({"gamma": 1.0, "chromaticity": (0.3, 0.0) * 4}, False),
        ({"gamma": 1.0, "chromaticity": (0.3, 0.3) * 4}, False),
    ],
)
def test_gamma_and_chromaticities_count_where_they_are_not_those_of_srgb(info: dict[str, object], known: bool) -> None:
    assert (profile_of(info, b"") is not None) is known


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1", "HSV"])
@pytest.mark.parametrize("profile", [None, b"broken", bytes(200)])
def test_without_a_profile_that_works_the_pixels_still_count(mode: str, profile: bytes | None) -> None:
    image = Image.new("RGB", (2, 2), (255, 255, 255)).convert(mode)
    converted = to_srgb(image, profile)
    assert converted.mode == "RGB" and np.asarray(converted).min() >= 250
