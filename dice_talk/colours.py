"""Converts a picture's colours to sRGB, as its ICC profile or a PNG's code points and gamma define them."""

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Matrix = NDArray[np.float64]
Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue."""

_D65 = (0.3127, 0.3290)
_BT709 = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: Mapping[int, Chromaticities] = {
    1: _BT709,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""Primaries by the ColourPrimaries numbers of ITU-T H.273."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
_CURVE_POINTS = 4096
_PQ_WHITE = 203 / 10_000
"""White on paper, as a share of PQ's 10 000 nits (ITU-R BT.2408). Anything brighter becomes white."""
_USUAL_GAMMA = (0.43, 0.48)
"""Range of PNG's gAMA in which a file is taken for sRGB: 1 / 2.2 and the values that round to it."""

Transfer = Callable[[Matrix], Matrix]


def _srgb(x: Matrix) -> Matrix:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _pq(x: Matrix) -> Matrix:
    """SMPTE ST 2084."""
    root = x ** (1 / 78.84375)
    light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    nits: Matrix = light / _PQ_WHITE
    return nits


def _hlg(x: Matrix) -> Matrix:
    """ARIB STD-B67. 75 % of the signal is white (ITU-R BT.2408)."""

    def light(signal: Matrix) -> Matrix:
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)

    return light(x) / light(np.array(0.75))


def _power(gamma: float) -> Transfer:
    return lambda x: x**gamma


_TRANSFERS: Mapping[int, Transfer] = {
    **dict.fromkeys((1, 6, 7, 11, 12, 13, 14, 15), _srgb),  # a camera's curve too, because viewers show it this way
    4: _power(2.2),
    5: _power(2.8),
    8: _power(1.0),
    16: _pq,
    17: _power(2.6),
    18: _hlg,
}
"""Curves by the TransferCharacteristics numbers of ITU-T H.273."""


def profile_of(info: Mapping[Any, Any], cicp: bytes) -> bytes | None:
    """Return the ICC profile of a picture's colours, or None if they are sRGB or unknown.

    A PNG's code points take precedence over its profile, and the profile over gamma and chromaticities, as its
    specification says.
    """
    if len(cicp) == 4 and cicp[0] in _PRIMARIES and cicp[1] in _TRANSFERS and cicp[2] == 0 and cicp[3] == 1:
        return _profile(_PRIMARIES[cicp[0]], _TRANSFERS[cicp[1]])
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    if "srgb" in info or not info.get("gamma"):
        return None
    low, high = _USUAL_GAMMA
    gamma = float(info["gamma"])
    primaries = tuple(float(v) for v in info.get("chromaticity", ())) or _BT709
    curve = _srgb if low < gamma < high else _power(1 / min(max(gamma, 0.1), 10.0))
    if len(primaries) != 8 or (curve is _srgb and np.allclose(primaries, _BT709, atol=0.002)):
        return None
    return _profile(primaries, curve)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB through the profile. Uses Pillow's formulas if there is none or it cannot be used.

    The intent is relative colorimetric with black point compensation: colours within sRGB stay as they are, as in
    browsers.
    """
    if profile and profile[16:20] == b"RGB " and image.mode == "L":
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            return _converted(image, profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # the pixels are still good
            pass
    return image.convert("RGB")


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(
        image,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if converted is None:
        raise ValueError("nothing was converted")
    return converted


def _to_xyz(primaries: Chromaticities) -> Matrix:
    """Return the matrix from linear RGB to XYZ under D50, the white of ICC profiles, `(3, 3)`.

    Raises `ValueError` for impossible primaries.
    """
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    if (y < 0.001).any():
        raise ValueError("no colours")
    white, *colours = np.stack([x / y, np.ones(4), (1 - x - y) / y], axis=1)
    columns = np.array(colours).T
    matrix = columns * np.linalg.solve(columns, white)
    adapted: Matrix = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD @ matrix
    return adapted


def _profile(primaries: Chromaticities, transfer: Transfer) -> bytes | None:
    """Return a matrix profile (ICC 2.4) of these colours, or None if the primaries are impossible."""
    try:
        matrix = _to_xyz(primaries)
    except (ValueError, np.linalg.LinAlgError):
        return None
    levels = transfer(np.linspace(0, 1, _CURVE_POINTS)).clip(0, 1)
    curve = b"curv" + struct.pack(">II", 0, _CURVE_POINTS) + (levels * 65535).round().astype(">u2").tobytes()
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, 1) + bytes(79),
        b"cprt": b"text\0\0\0\0\0\0\0\0",
        b"wtpt": _xyz(_D50),
        **{name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _assembled(tags)


def _xyz(values: Matrix) -> bytes:
    numbers = (round(float(value) * 65536) for value in values)
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *numbers)


def _assembled(tags: Mapping[bytes, bytes]) -> bytes:
    """Return the header, the tag table and the data of all tags, storing equal data once."""
    places: dict[bytes, int] = {}
    at, body = 128 + 4 + 12 * len(tags), b""
    for data in tags.values():
        if data not in places:
            places[data] = at + len(body)
            body += data + bytes(-len(data) % 4)
    table = b"".join(struct.pack(">4sII", name, places[data], len(data)) for name, data in tags.items())
    header = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + _xyz(_D50)[8:] + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body
