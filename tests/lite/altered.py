"""Portraits as people may send them: moved, turned, dark, pale, blurred, noisy, bordered, and any of these at once."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Change = Callable[[Image.Image, random.Random], Image.Image]

CORNERS = {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1), "middle": (0.5, 0.5)}


@dataclass(frozen=True)
class Case:
    """One picture, what was done to it, and the options that it is rendered with."""

    name: str
    picture: Image.Image
    options: dict[str, Any]


def on_canvas(picture: Image.Image, rng: random.Random) -> Image.Image:
    """On a canvas of up to three times its size, at a corner, in the middle, or anywhere."""
    scale, colour = rng.choice((1.2, 1.5, 2, 3)), rng.choice(("white", "black", "grey", "red"))
    width, height = round(picture.width * scale), round(picture.height * scale)
    x, y = rng.choice((*CORNERS.values(), (rng.random(), rng.random())))
    canvas = Image.new("RGB", (width, height), colour)
    canvas.paste(picture, (round((width - picture.width) * x), round((height - picture.height) * y)))
    return canvas


def sized(picture: Image.Image, rng: random.Random) -> Image.Image:
    longer = rng.choice((64, 80, 100, 150, 250, 900))
    scale = longer / max(picture.size)
    return picture.resize((max(round(picture.width * scale), 64), max(round(picture.height * scale), 64)))


def stretched(picture: Image.Image, rng: random.Random) -> Image.Image:
    wide, tall = rng.choice(((0.5, 1), (1, 0.5), (0.7, 1), (1, 0.7)))
    return picture.resize((round(picture.width * wide), round(picture.height * tall)))


def turned(picture: Image.Image, rng: random.Random) -> Image.Image:
    angle = rng.choice((-90, -45, -30, -15, 15, 30, 45, 90, 180))
    return picture.rotate(angle, Image.Resampling.BICUBIC, expand=rng.random() < 0.5, fillcolor="white")


def cut(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A part of it, which may cut through the face."""
    left, top = (rng.choice((0, 0.1, 0.2, 0.3, 0.4)) for _ in range(2))
    right, bottom = (rng.choice((1, 0.9, 0.8, 0.7, 0.6)) for _ in range(2))
    width, height = picture.size
    return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def bright(picture: Image.Image, rng: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(rng.choice((0.02, 0.05, 0.1, 0.25, 2, 4)))


def contrast(picture: Image.Image, rng: random.Random) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(rng.choice((0.02, 0.05, 0.1, 0.2, 3, 10)))


def blurred(picture: Image.Image, rng: random.Random) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(rng.choice((2, 5, 10))))


def noisy(picture: Image.Image, rng: random.Random) -> Image.Image:
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.choice((10, 30, 80)), (*picture.size[::-1], 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def bordered(picture: Image.Image, rng: random.Random) -> Image.Image:
    width = round(rng.choice((0.02, 0.1, 0.3)) * min(picture.size))
    return ImageOps.expand(picture, width, rng.choice(("white", "black", "blue")))


CHANGES: dict[str, Change] = {
    "canvas": on_canvas,
    "size": sized,
    "stretch": stretched,
    "turn": turned,
    "cut": cut,
    "brightness": bright,
    "contrast": contrast,
    "blur": blurred,
    "noise": noisy,
    "border": bordered,
    "grey": lambda picture, _: picture.convert("L").convert("RGB"),
    "inverted": lambda picture, _: ImageOps.invert(picture),
    "mirrored": lambda picture, _: ImageOps.mirror(picture),
    "two": lambda picture, _: side_by_side(picture),
}


def side_by_side(picture: Image.Image) -> Image.Image:
    both = Image.new("RGB", (2 * picture.width, picture.height))
    both.paste(picture)
    both.paste(picture, (picture.width, 0))
    return both


def options(rng: random.Random) -> dict[str, Any]:
    """The defaults half the time, else extremes."""
    chosen: dict[str, Any] = {"min_resolution": 128}
    if rng.random() < 0.5:
        chosen |= {"crop": True, "expand_ratio": rng.choice((0.1, 0.1, 0.5, 2.0))}
    if rng.random() < 0.2:
        chosen |= {"min_resolution": rng.choice((128, 192, 320, 640))}
    if rng.random() < 0.15:
        chosen |= {"face_index": rng.choice((1, 2, 5))}
    if rng.random() < 0.2:
        chosen |= {"dynamic_scale": 3.0, "emo_scale": 10.0}
    return chosen


def cases(pictures: dict[str, Image.Image], count: int, seed: int) -> Iterator[Case]:
    """The same ones for the same seed: each change alone first, then several at once."""
    rng = random.Random(seed)
    changes = list(CHANGES)
    for number in range(count):
        name = rng.choice(list(pictures))
        chosen = [changes[number % len(changes)]] if number < count // 2 else rng.sample(changes, rng.choice((2, 2, 3)))
        picture = pictures[name]
        for change in chosen:
            picture = CHANGES[change](picture, rng)
        yield Case(f"{number} {name}: {', '.join(chosen)}", picture, {"emotion": "happy", **options(rng)})
