import io
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from dice_talk import image
from dice_talk.colours import profile_of
from dice_talk.errors import InvalidImage
from dice_talk.image import load_portrait
from tests.hostile.samples import chunk, png, with_chunks

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
    assert pixels.shape == (80, 100, 3)
    assert pixels.dtype == np.uint8
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


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "PDF", "JPEG2000", "AVIF"])
def test_other_types_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidImage, match="Invalid image file type") as refusal:
        load_portrait(save(tmp_path, Image.new("RGB", (64, 64)), kind))
    name = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}.get(kind, kind)
    assert name in str(refusal.value.detail)
    assert ".jpg" in str(refusal.value.detail)


@pytest.mark.parametrize("size", [(1, 1), (63, 500), (64, 300), (8000, 1000)])
def test_absurd_sizes_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage, match=r"too small|too long and narrow"):
        load_portrait(save(tmp_path, Image.new("L", size)))


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, Image.new("1", (8000, 7000)))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(image, "_decode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(InvalidImage, match="too many pixels: 8000 x 7000") as caught:
        load_portrait(path)
    assert caught.value.params == {"width": 8000, "height": 7000, "most": 50}


def test_a_heic_tells_what_to_set_on_a_phone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500))
    with pytest.raises(InvalidImage) as refusal:
        load_portrait(tmp_path / "a.jpg")
    assert str(refusal.value) == "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"
    assert "HEIC" in str(refusal.value.detail)
    assert "Settings, Camera, Formats, Most Compatible" in str(refusal.value.detail)


def photo(kind: str, **options: Any) -> bytes:
    """Noise on a slope: each part of it differs from the next."""
    noise = np.random.default_rng(0).normal(0, 20, (96, 96, 3)) + np.linspace(0, 255, 96)[:, None]
    buffer = io.BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def loaded(folder: Path, data: bytes) -> np.ndarray:
    (folder / "picture").write_bytes(data)
    return load_portrait(folder / "picture")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_whole_and_one_without_pixels_is_not(
    tmp_path: Path, progressive: bool
) -> None:
    whole = photo("JPEG", progressive=progressive)
    assert np.array_equal(loaded(tmp_path, whole[:-2]), loaded(tmp_path, whole))
    assert np.array_equal(loaded(tmp_path, whole[:-1]), loaded(tmp_path, whole))
    for missing in (8, 20, 100, len(whole) // 2):
        with pytest.raises(InvalidImage, match="can't be decoded"):
            loaded(tmp_path, whole[:-missing])
    assert np.array_equal(loaded(tmp_path, whole + b"garbage \xff\xd8\xff\xd9"), loaded(tmp_path, whole))


@pytest.mark.parametrize("kind", [b"tEXt", b"eXIf", b"iCCP", b"gAMA", b"tIME", b"abCd"])
def test_a_png_is_forgiven_what_is_not_its_pixels(tmp_path: Path, kind: bytes) -> None:
    whole = photo("PNG")
    damaged = chunk(kind, b"k\0\0\x01" + bytes(3))[:-1] + b"?"
    for data in (with_chunks(damaged, whole), whole[:-12], whole[:-5], whole + b"garbage"):
        assert np.array_equal(loaded(tmp_path, data), loaded(tmp_path, whole))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(0, 0, 8, 2, b"\0" * 99), "too small: 0 x 0"),
        (png(0, 100, 8, 2, b"\0" * 99), "too small: 0 x 100"),
        (png(100, 100, 3, 9, b"\0" * 99), "bit depth 3, colour type 9"),
        (photo("JPEG").replace(b"\xff\xc0\0\x11\x08\0\x60", b"\xff\xc0\0\x11\x08\0\0"), "too small: 96 x 0"),
        (photo("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "12 bits"),
        (photo("JPEG").replace(b"\xff\xc0", b"\xff\xc3"), "It is a lossless JPEG."),
        (photo("JPEG").replace(b"\xff\xc0", b"\xff\xf7"), "It is a JPEG-LS picture."),
    ],
    ids=["no pixels", "no width", "no such depth", "no height", "12 bits", "lossless", "JPEG-LS"],
)
def test_absurd_headers_get_words_of_their_own(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InvalidImage) as refusal:
        loaded(tmp_path, data)
    assert words in f"{refusal.value} {refusal.value.detail}"


@pytest.mark.parametrize("scans", [90, 101, 5000])
def test_scans_are_counted_before_decoding(tmp_path: Path, scans: int) -> None:
    picture = photo("JPEG", progressive=True)
    last, few = picture.rindex(b"\xff\xda"), picture.count(b"\xff\xda")
    data = picture[:-2] + picture[last:-2] * (scans - few) + picture[-2:]
    if scans == 90:
        assert loaded(tmp_path, data).shape == (96, 96, 3)
    else:
        with pytest.raises(InvalidImage, match="too many scans"):
            loaded(tmp_path, data)


LINEAR_P3 = np.array([[0.8224621, 0.1775380, 0], [0.0331941, 0.9668058, 0], [0.0170827, 0.0723974, 0.9105199]])
"""sRGB to Display P3, both linear (CSS Color 4)."""
LINEAR_2020 = np.array([[0.62740, 0.32928, 0.04331], [0.06910, 0.91954, 0.01136], [0.01639, 0.08801, 0.89560]])
"""sRGB to BT.2020 (ITU-R BT.2087)."""


def linear(values: Any) -> np.ndarray:
    x = np.asarray(values) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> tuple[int, ...]:
    x = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return tuple(int(v) for v in (x * 255).round())


def patch(colour: Any, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), tuple(colour)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("colour", [(200, 100, 50), (230, 190, 170), (20, 60, 40), (128, 128, 128), (255, 255, 255)])
def test_code_points_are_followed_to_srgb(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    for matrix, points in ((LINEAR_P3, b"\x0c\x0d\0\1"), (LINEAR_2020, b"\x09\x0d\0\1"), (np.eye(3), b"\1\x0d\0\1")):
        wide = encoded(matrix @ linear(colour))
        pixels = loaded(tmp_path, with_chunks(chunk(b"cICP", points), patch(wide)))
        assert np.abs(pixels.astype(int) - colour).max() <= 2
        clear = loaded(tmp_path, with_chunks(chunk(b"cICP", points), patch((*wide, 255), "RGBA")))
        assert np.abs(clear.astype(int) - colour).max() <= 2
        profile = profile_of({}, points)
        Image.new("RGB", (64, 64), wide).save(tmp_path / "p3.jpg", quality=100, icc_profile=profile, subsampling=0)
        assert np.abs(load_portrait(tmp_path / "p3.jpg").astype(int) - colour).max() <= 2


def test_code_points_go_before_a_profile_and_unknown_ones_do_not(tmp_path: Path) -> None:
    profile = profile_of({}, b"\x09\x0d\0\1")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 50)).save(buffer, "PNG", icc_profile=profile)
    plain = loaded(tmp_path, with_chunks(chunk(b"cICP", b"\1\x0d\0\1"), buffer.getvalue()))
    assert np.abs(plain.astype(int) - (200, 100, 50)).max() <= 1
    unknown = loaded(tmp_path, with_chunks(chunk(b"cICP", b"\x63\x63\0\1"), buffer.getvalue()))
    assert np.array_equal(unknown, loaded(tmp_path, buffer.getvalue()))
    assert np.abs(unknown.astype(int) - (200, 100, 50)).max() > 10


@pytest.mark.parametrize(("curve", "white"), [(16, 0.5807), (18, 0.75)], ids=["PQ", "HLG"])
def test_white_paper_of_high_dynamic_range_is_white(tmp_path: Path, curve: int, white: float) -> None:
    pixels = loaded(tmp_path, with_chunks(chunk(b"cICP", bytes((9, curve, 0, 1))), patch([round(255 * white)] * 3)))
    assert pixels.min() >= 250
    dark = loaded(tmp_path, with_chunks(chunk(b"cICP", bytes((9, curve, 0, 1))), patch([90] * 3)))
    assert 20 < dark.mean() < 200


def test_gamma_is_followed_where_it_is_not_that_of_srgb(tmp_path: Path) -> None:
    usual = loaded(tmp_path, with_chunks(chunk(b"gAMA", struct.pack(">I", 45455)), patch((200, 100, 50))))
    assert (usual == (200, 100, 50)).all()
    straight = loaded(tmp_path, with_chunks(chunk(b"gAMA", struct.pack(">I", 100_000)), patch((128, 128, 128))))
    assert abs(int(straight[0, 0, 0]) - 188) <= 2


def test_a_grey_profile_is_followed_with_and_without_alpha(tmp_path: Path) -> None:
    for mode, colour in (("L", 128), ("LA", (128, 255))):
        picture = Image.new(mode, (64, 64), colour)
        path = save(tmp_path, picture, icc_profile=grey_profile(1.0))
        assert np.abs(load_portrait(path).astype(int) - 188).max() <= 2


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    at = 128 + 4 + 24
    table = struct.pack(">I4sII4sII", 2, b"kTRC", at, 14, b"wtpt", at + 16, 20)
    header = struct.pack(">I4sI4s4s4s", at + 36, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + white[8:] + bytes(48)
    return header + table + curve + white


@pytest.mark.parametrize("ends", [b"\0", b"\xff\xd9"], ids=["nothing", "an end"])
@pytest.mark.parametrize("place", ["after the start", "after a segment", "within a scan"])
def test_megabytes_of_fill_bytes_are_looked_through_at_once(tmp_path: Path, place: str, ends: bytes) -> None:
    whole, fill = photo("JPEG"), b"\xff" * 5_000_000
    starts = {"after the start": whole[:2], "after a segment": b"\xff\xd8\xff\xe0\0\2", "within a scan": whole[:-2]}
    (tmp_path / "picture").write_bytes(starts[place] + fill + ends)
    began = time.process_time()
    try:
        load_portrait(tmp_path / "picture")
    except InvalidImage as error:
        assert place != "within a scan", error
    assert time.process_time() - began < 1


def test_fill_bytes_before_markers_change_nothing(tmp_path: Path) -> None:
    whole = photo("JPEG")
    filled = (
        whole[:-2].replace(b"\xff\xdb", b"\xff\xff\xff\xdb").replace(b"\xff\xda", b"\xff\xff\xda") + b"\xff\xff\xd9"
    )
    assert np.array_equal(loaded(tmp_path, filled), loaded(tmp_path, whole))


def test_a_jpeg_without_its_end_marker_may_have_half_as_many_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decoded twice."""
    whole = photo("JPEG", progressive=True)
    monkeypatch.setattr(image, "MAX_SCANNED", whole.count(b"\xff\xda") * 96 * 96)
    loaded(tmp_path, whole)
    with pytest.raises(InvalidImage, match="too many scans"):
        loaded(tmp_path, whole[:-2])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_every_transparency_is_mixed_with_white_as_pillow_mixes(tmp_path: Path, mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 300, len(mode)), np.uint8)
    picture = Image.fromarray(values)
    right = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")).convert("RGB")
    away = load_portrait(save(tmp_path, picture)).astype(int) - np.asarray(right)
    assert np.abs(away).max() <= 1
