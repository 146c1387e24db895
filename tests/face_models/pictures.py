"""Variants of the example portrait on which MediaPipe's own results were recorded."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from dice_talk.image import Pixels


def variants(portrait: Path) -> dict[str, Pixels]:
    """Turned, scaled, mirrored, dark, grey and beside an empty half; all as RGB pixels, by name."""
    picture = Image.open(portrait).convert("RGB")
    width, height = picture.size
    wide = Image.new("RGB", (2 * width, height), (90, 120, 90))
    wide.paste(picture, (width // 2, 0))
    made = {
        "portrait": picture,
        **{f"rot{angle}": picture.rotate(angle, Image.Resampling.BICUBIC) for angle in (-30, -15, 15, 30)},
        "small": picture.resize((width // 4, height // 4), Image.Resampling.LANCZOS),
        "tiny": picture.resize((width // 8, height // 8), Image.Resampling.LANCZOS),
        "big": picture.resize((2 * width, 2 * height), Image.Resampling.BICUBIC),
        "mirror": picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "dark": ImageEnhance.Brightness(picture).enhance(0.35),
        "grey": picture.convert("L").convert("RGB"),
        "wide": wide,
    }
    return {name: np.ascontiguousarray(np.asarray(image)) for name, image in made.items()}


def picture_in(folder: Path, name: str) -> Pixels:
    """The picture that a name of a reference file means, with or without its extension."""
    places = [folder / f"{name}{ending}" for ending in ("", ".png", ".jpg", ".jpeg")]
    places += [folder / place.name for place in places]
    for place in places:
        if place.is_file():
            return np.ascontiguousarray(np.asarray(Image.open(place).convert("RGB")))
    raise FileNotFoundError(f"reference.npz names {name!r}, and {folder} holds no such picture (.png, .jpg, .jpeg)")
