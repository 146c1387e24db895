"""What a portrait and a recording hold, ready for JSON, and the picture with the faces boxed."""

import base64
import io
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageColor

from dice_talk import preflight
from dice_talk.engine import EngineSpec
from dice_talk.engines import ENGINES
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidAudio, InvalidImage
from dice_talk.face import Box
from dice_talk.image import Pixels
from dice_talk.options import RenderOptions
from dice_talk.portrait_check import PortraitFacts, check_faces
from dice_talk.preflight import CHOSEN, CROP, OTHER, OVERLAY_SIDE, draw_overlay, listen_to, look_at

OPTIONS = RenderOptions(emotion="neutral")
SPEC = EngineSpec(name="other", module="dice_talk.lite.engine", source_type="algorithmicMedia")
FIRST, SECOND = Box(200, 200, 600, 700), Box(800, 300, 1000, 500)


def drawn(chosen: Box | None, crop: Box | None) -> Pixels:
    """Return the overlay of a grey picture of 1280 x 960 with two faces, which is half as large."""
    facts = PortraitFacts(1280, 960, [FIRST, SECOND], chosen, crop, None)
    with Image.open(io.BytesIO(draw_overlay(np.full((960, 1280, 3), 128, np.uint8), facts))) as image:
        assert image.format == "JPEG"
        return np.asarray(image)


def shows(pixels: Pixels, y: int, x: int, colour: str) -> bool:
    """Whether there is a colour about a place: JPEG blurs lines."""
    near = pixels[y - 1 : y + 2, x - 1 : x + 2].astype(int).reshape(-1, 3)
    return bool((np.abs(near - ImageColor.getrgb(colour)).max(1) < 60).any())


def test_the_overlay_is_small_and_keeps_its_shape() -> None:
    assert drawn(FIRST, None).shape == (480, OVERLAY_SIDE, 3)


def test_the_chosen_face_has_a_colour_of_its_own() -> None:
    pixels = drawn(FIRST, None)
    assert shows(pixels, 225, 100, CHOSEN) and shows(pixels, 225, 299, CHOSEN)
    assert shows(pixels, 349, 200, CHOSEN)
    assert shows(pixels, 200, 400, OTHER) and not shows(pixels, 200, 400, CHOSEN)
    other = drawn(SECOND, None)
    assert shows(other, 225, 100, OTHER) and shows(other, 200, 400, CHOSEN)


def test_the_crop_is_drawn_if_there_is_one() -> None:
    crop = Box(160, 40, 1120, 920)
    assert shows(drawn(FIRST, crop), 240, 80, CROP) and shows(drawn(FIRST, crop), 20, 300, CROP)
    assert not shows(drawn(FIRST, None), 240, 80, CROP)


def test_faces_are_numbered() -> None:
    """Two digits differ, at the same place in boxes of one size."""
    boxes = [Box(100, 100, 300, 300), Box(500, 100, 700, 300)]
    facts = PortraitFacts(800, 400, boxes, None, None, None)
    with Image.open(io.BytesIO(draw_overlay(np.full((400, 800, 3), 128, np.uint8), facts))) as image:
        pixels = np.asarray(image).astype(int)
    left, right = pixels[84:108, 84:108], pixels[84:108, 404:428]
    assert left.shape == right.shape and np.abs(left - right).max() > 100


def test_a_portrait(portrait: Path) -> None:
    found = look_at(portrait, OPTIONS.model_copy(update={"crop": True}), "lite")
    assert json.loads(json.dumps(found)) == found
    assert (found["width"], found["height"], found["output"]) == (360, 360, {"width": 256, "height": 256})
    (face,) = found["faces"]
    assert face["index"] == 0 and 60 < face["width"] < 250
    crop = found["crop"]
    assert crop["left"] <= face["left"] and crop["width"] >= face["width"]
    kind, _, data = found["overlay"].partition(",")
    assert kind == "data:image/jpeg;base64" and base64.b64decode(data).startswith(b"\xff\xd8")


def test_what_is_no_picture_is_refused(speech: Path) -> None:
    with pytest.raises(InvalidImage):
        look_at(speech, OPTIONS, "lite")


def test_a_recording(tmp_path: Path) -> None:
    """A tone in one channel for a second, then silence."""
    time = np.arange(32_000) / 16_000
    tone = np.where(time < 1, 0.5 * np.sin(2 * np.pi * 200 * time), 0)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, 0 * tone], 1), 16_000, subtype="FLOAT")
    found = listen_to(tmp_path / "tone.wav", OPTIONS.model_copy(update={"duration": 1.5}))
    assert json.loads(json.dumps(found)) == found
    assert (found["seconds"], found["used_seconds"]) == (2, 1.5)
    assert (found["sample_rate"], found["channels"]) == (16_000, 2)
    assert found["peak_dbfs"] == -6.0 and found["clipped_share"] == 0
    assert found["silent_share"] == pytest.approx(1 / 3, abs=0.05)
    assert all(set(warning) == {"code", "message", "blocking"} for warning in found["warnings"])


def test_advice_on_a_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(16_000), 16_000)
    assert [warning["code"] for warning in listen_to(tmp_path / "still.wav", OPTIONS)["warnings"]] == ["silent_audio"]


def test_what_is_no_sound_is_refused(portrait: Path) -> None:
    with pytest.raises(InvalidAudio):
        listen_to(portrait, OPTIONS)


@pytest.mark.parametrize(
    ("box", "rectangle"),
    [
        (Box(0.4, 0.6, 10.4, 20.6), {"left": 0, "top": 1, "width": 10, "height": 20}),
        (Box(0.6, 0, 10.4, 20), {"left": 1, "top": 0, "width": 9, "height": 20}),
    ],
)
def test_boxes_have_whole_pixels_and_end_where_they_end(box: Box, rectangle: dict[str, int]) -> None:
    assert preflight._rectangle(box) == rectangle


def exiting(picture: Pixels, options: RenderOptions) -> None:
    sys.exit(3)


def listing(picture: Pixels, options: RenderOptions) -> tuple[object, object]:
    return check_faces(picture, options)[0], ["look up"]


def refusing(picture: Pixels, options: RenderOptions) -> None:
    raise InvalidImage(ErrorCode.IMAGE_DAMAGED, "The image is torn")


def filling(picture: Pixels, options: RenderOptions) -> None:
    bytearray(1 << 60)


@pytest.mark.parametrize(
    "path", ["no_such_module:check", "sys:nothere", *(f"{__name__}:{n}" for n in ("exiting", "listing"))]
)
def test_the_usual_check_takes_its_place(
    portrait: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    monkeypatch.setitem(ENGINES, "other", SPEC)
    usual = look_at(portrait, OPTIONS, "other")
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, portrait_check=path))
    assert not caplog.records
    assert look_at(portrait, OPTIONS, "other") == usual
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert f"{path} of the engine other does not work" in caplog.text


@pytest.mark.parametrize(("name", "error"), [("refusing", InvalidImage), ("filling", MemoryError)])
def test_a_refusal_and_a_lack_of_memory_stay(
    portrait: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, portrait_check=f"{__name__}:{name}"))
    with pytest.raises(error):
        look_at(portrait, OPTIONS, "other")
