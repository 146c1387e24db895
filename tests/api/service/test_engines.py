"""What a server says of the engines that requests may name."""

from pathlib import Path

import pytest

from api.service.engines import list_engines
from dice_talk import engines


def test_each_engine_with_what_it_lacks(tmp_path: Path) -> None:
    found = list_engines("auto", tmp_path)
    assert found.auto == "lite"
    by_name = {engine.name: engine for engine in found.engines}
    lite, diffusion = by_name["lite"], by_name["diffusion"]
    assert (lite.available, lite.missing, lite.remedy) == (True, None, None)
    assert lite.ignores == ["inference_steps", "quality"]
    assert not diffusion.available and diffusion.ignores == []
    assert diffusion.missing and diffusion.remedy == engines.ENGINES["diffusion"].remedy


def test_a_server_that_can_render_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_engines("diffusion", tmp_path).auto is None
    monkeypatch.delitem(engines.ENGINES, "lite")
    assert list_engines("auto", tmp_path).auto is None
