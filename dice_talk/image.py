"""Reading a portrait: any JPEG or PNG a person may send becomes plain 8-bit RGB."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from dice_talk.errors import InvalidImage

MAX_PIXELS = 50_000_000
"""Above what phone cameras send (48 MP); a decoded picture then takes at most 150 MB."""
MIN_SIDE = 64
MAX_ASPECT = 4.0

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""

Pixels = NDArray[np.uint8]


def load_portrait(path: Path) -> Pixels:
    """RGB pixels `(H, W, 3)` of a JPEG or PNG: upright (EXIF orientation), sRGB, alpha over white, 16 bit scaled to 8.

    Raises `InvalidImage`, and `FileNotFoundError` as it is. Sizes are checked before anything is decoded.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            _check_size(image.size)
            image.load()
            return np.asarray(_to_rgb(_upright(image)))
    except UnidentifiedImageError as error:
        raise InvalidImage("Invalid image file type. Allowed types: ['image/jpeg', 'image/png']") from error
    except Image.DecompressionBombError as error:  # so many that Pillow refuses even to look
        raise _too_many("hundreds of millions") from error
    except (InvalidImage, FileNotFoundError, MemoryError, ImportError):
        raise
    except Exception as error:  # Pillow's words for broken files: OSError, SyntaxError, ValueError, TypeError...
        raise InvalidImage(
            "The image can't be decoded", "The file is damaged or incomplete. Send a whole JPEG or PNG."
        ) from error


def _too_many(pixels: str) -> InvalidImage:
    allowed = f"At most {MAX_PIXELS // 10**6} megapixels are allowed."
    return InvalidImage(f"The image has too many pixels: {pixels}", allowed)


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_many(f"{width} x {height}")
    if min(size) < MIN_SIDE:
        raise InvalidImage(
            f"The image is too small: {width} x {height}", f"Each side must have at least {MIN_SIDE} pixels."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise InvalidImage(
            f"The image is too long and narrow: {width} x {height}",
            f"The longer side may be at most {MAX_ASPECT:g} times the shorter one.",
        )


def _upright(image: Image.Image) -> Image.Image:
    """As the camera was held. `ImageOps.exif_transpose` would also rewrite the EXIF data, and trip over broken ones."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - whatever is wrong with what is said about the pixels, they are still good
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return _to_srgb(Image.alpha_composite(white, rgba).convert("RGB"), image.info.get("icc_profile"))
    return _to_srgb(image, image.info.get("icc_profile"))


def _to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    """Colours of wide-gamut photos and of CMYK scans, through their profile; without one, by Pillow's formulas."""
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):  # a broken or mismatched profile: the pixels are still good
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
