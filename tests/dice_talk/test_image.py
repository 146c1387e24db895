from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from dice_talk import image
from dice_talk.errors import InvalidImage
from dice_talk.image import load_portrait

GRADIENT = np.linspace(0, 255, 100 * 80).reshape(80, 100)


def save(folder: Path, picture: Image.Image, kind: str = "PNG", **options: Any) -> Path:
    path = folder / "picture"
    picture.save(path, kind, **options)
    return path


def test_rgb_is_kept(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    assert np.array_equal(load_portrait(save(tmp_path, Image.fromarray(pixels))), pixels)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray((GRADIENT * 257).astype(np.uint16)))
    pixels = load_portrait(path)
    assert pixels.shape == (80, 100, 3)
    assert np.abs(pixels[..., 0].astype(float) - GRADIENT).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(GRADIENT.astype(np.uint8)).convert("RGB")
    picture = grey.quantize() if mode == "P" else grey.convert(mode)
    path = save(tmp_path, picture, "JPEG" if mode == "CMYK" else "PNG")
    pixels = load_portrait(path)
    assert (pixels.shape, pixels.dtype) == ((80, 100, 3), np.uint8)
    if mode != "1":
        assert np.abs(pixels.astype(float).mean(axis=2) - GRADIENT).mean() < 8


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (64, 64), (200, 0, 0, 0))
    assert (load_portrait(save(tmp_path, clear)) == 255).all()
    half = Image.new("RGBA", (64, 64), (0, 0, 200, 255))
    half.paste((0, 0, 0, 0), (0, 0, 64, 32))
    pixels = load_portrait(save(tmp_path, half.quantize()))
    assert (pixels[:32] == 255).all()
    assert (pixels[32:] == (0, 0, 200)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48] = 255  # bright in the top left quarter
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=95)
    pixels = load_portrait(path)
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 3


def test_colour_profiles_are_followed_and_broken_ones_ignored(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 64), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(load_portrait(save(tmp_path, picture, icc_profile=srgb)).astype(int) - (200, 100, 50)).max() <= 1
    assert (load_portrait(save(tmp_path, picture, icc_profile=b"nonsense")) == (200, 100, 50)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidImage, match="Invalid image file type"):
        load_portrait(save(tmp_path, Image.new("RGB", (64, 64)), kind))


@pytest.mark.parametrize("size", [(1, 1), (63, 500), (64, 300), (8000, 1000)])
def test_absurd_sizes_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage, match=r"too small|too long and narrow"):
        load_portrait(save(tmp_path, Image.new("L", size)))


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, Image.new("1", (8000, 7000)))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(image, "_to_rgb", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(InvalidImage, match="too many pixels: 8000 x 7000"):
        load_portrait(path)
