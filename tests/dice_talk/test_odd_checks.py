"""Preflight with engines whose own check of portraits does not work."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dice_talk import preflight
from dice_talk.engine import EngineSpec
from dice_talk.engines import ENGINES
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage
from dice_talk.image import Pixels
from dice_talk.options import RenderOptions
from dice_talk.portrait_check import check_faces

SPEC = EngineSpec(name="other", module="dice_talk.lite.engine", source_type="algorithmicMedia")
OPTIONS = RenderOptions(emotion="sad")


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
    usual = preflight.look_at(portrait, OPTIONS, "other")
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, portrait_check=path))
    assert not caplog.records
    assert preflight.look_at(portrait, OPTIONS, "other") == usual
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert f"{path} of the engine other does not work" in caplog.text


@pytest.mark.parametrize(("name", "error"), [("refusing", InvalidImage), ("filling", MemoryError)])
def test_a_refusal_and_a_lack_of_memory_stay(
    portrait: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, portrait_check=f"{__name__}:{name}"))
    with pytest.raises(error):
        preflight.look_at(portrait, OPTIONS, "other")
