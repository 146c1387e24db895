"""Reading a portrait: turns any JPEG or PNG into plain 8-bit RGB."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops

from dice_talk import kinds
from dice_talk.colours import profile_of, to_srgb
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage
from dice_talk.image_file import INCOMPLETE, JPEG, JPEG_END, PNG, StrippedImage, damaged, read_jpeg, read_png
from dice_talk.kinds import EXPLANATION, HEAD_BYTES, Family, Kind, Step, Use, explain, kind_of

MAX_PIXELS = 50_000_000
"""More than phone cameras produce (48 MP). A decoded picture then takes at most 150 MB."""
MAX_SCANS = 100
"""Scans of a progressive JPEG. Encoders write 10 to 14 of them, the most thorough optimisers 30."""
MAX_SCANNED = 2_000_000_000
"""Pixels times scans: 40 scans of the largest picture. Even an empty scan costs milliseconds per megapixel."""
MIN_SIDE = 64
MAX_ASPECT = 4.0

WRONG_TYPE = "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"
_SHORTEST = 20
"""Bytes; a shorter file cannot be a complete picture."""
_PORTRAIT = Use(
    "picture",
    "JPEG or PNG",
    {
        Family.PICTURE: Step("Make a JPEG of it: {command}", "magick {file} portrait.jpg"),
        Family.VIDEO: Step("Send one picture of it: {command}", "ffmpeg -i {file} -frames:v 1 picture.png"),
        Family.OTHER: Step("Send a photo of the face, as JPEG or PNG."),
    },
    "portrait",
)
_UNKNOWN = Kind(
    "unknown", "none of the kinds known here", step=Step("Open it in a picture viewer and save it as JPEG or PNG.")
)
_CUT_OFF = Kind("cut_off", "only the beginning of a JPEG or PNG", step=Step("Send the whole file."))
_NO_PIXELS = b"\x55\xaa\x33\x0f\x66\x99" * 64
"""Decoded in place of missing pixels, this gives something other than the decoder's own fill."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that makes a picture upright, by its EXIF orientation."""

Pixels = NDArray[np.uint8]


def load_portrait(path: Path) -> Pixels:
    """Return RGB pixels `(H, W, 3)` of a JPEG or PNG: upright, in sRGB, alpha blended with white, 16 bits scaled to 8.

    Raises `InvalidImage` or `FileNotFoundError`. Size and decoding effort are checked before anything is decoded.
    """
    source = _read(path)
    _check_size(source.size)
    _check_scans(source)
    try:
        image = _decode(source.data)
        if not source.ended and image.format == "JPEG" and not _complete(image, source):
            raise damaged(INCOMPLETE)
        return np.asarray(_to_rgb(_upright(image), source.cicp))
    except (InvalidImage, MemoryError, ImportError):
        raise
    except Exception as error:  # Pillow's errors for broken files: OSError, SyntaxError, ValueError, TypeError...
        # A part of the file can also be larger than its header says, which is a DecompressionBombError.
        raise damaged(INCOMPLETE) from error


def _read(path: Path) -> StrippedImage:
    data = path.read_bytes()
    if len(data) >= _SHORTEST and data.startswith(PNG):
        return read_png(data)
    if len(data) >= _SHORTEST and data.startswith(JPEG):
        return read_jpeg(data)
    kind = kind_of(data[:HEAD_BYTES]) or _UNKNOWN
    found = explain(_CUT_OFF if kind in (kinds.JPEG, kinds.PNG) else kind, _PORTRAIT)
    raise InvalidImage(ErrorCode.IMAGE_TYPE, WRONG_TYPE, EXPLANATION, **found)


def _decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    image.load()
    return image


def _complete(image: Image.Image, source: StrippedImage) -> bool:
    """Return whether a JPEG without an end marker has all its pixels: then data appended to them changes none."""
    other = _decode(source.data[: -len(JPEG_END)] + _NO_PIXELS + JPEG_END)
    return bool(ImageChops.difference(image, other).getbbox() is None)


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InvalidImage(
            ErrorCode.IMAGE_TOO_MANY_PIXELS,
            "The image has too many pixels: {width} x {height}",
            "At most {most} megapixels are allowed.",
            width=width,
            height=height,
            most=MAX_PIXELS // 10**6,
        )
    if min(size) < MIN_SIDE:
        raise InvalidImage(
            ErrorCode.IMAGE_TOO_SMALL,
            "The image is too small: {width} x {height}",
            "Each side must have at least {least} pixels.",
            width=width,
            height=height,
            least=MIN_SIDE,
        )
    if max(size) > MAX_ASPECT * min(size):
        raise InvalidImage(
            ErrorCode.IMAGE_TOO_NARROW,
            "The image is too long and narrow: {width} x {height}",
            "The longer side may be at most {most:g} times the shorter one.",
            width=width,
            height=height,
            most=MAX_ASPECT,
        )


def _check_scans(source: StrippedImage) -> None:
    decoded = 1 if source.ended else 2  # times; see `_complete`
    most = min(MAX_SCANS, MAX_SCANNED // (source.size[0] * source.size[1] * decoded))
    if source.scans > most:
        raise InvalidImage(
            ErrorCode.IMAGE_SCANS,
            "The image has too many scans: {scans}",
            "At most {most} are allowed in a JPEG of this size. Save it anew as an ordinary JPEG.",
            scans=source.scans,
            most=most,
        )


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture upright. `ImageOps.exif_transpose` would also rewrite EXIF data, and fail on broken ones."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - the pixels are good even if the EXIF data are broken
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, cicp: bytes) -> Image.Image:
    profile = profile_of(image.info, cicp)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        alpha, plain = rgba.getchannel("A"), rgba.convert("L" if image.mode in ("L", "LA") else "RGB")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(to_srgb(plain, profile), mask=alpha)  # takes a third of the time of `Image.alpha_composite`
        return white
    return to_srgb(image.convert("RGB") if image.mode == "P" else image, profile)
