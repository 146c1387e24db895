"""Which detector is taken, and what is put into and read out of the published one."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from torch import Tensor
from torch.nn import Module

from dice_talk.diffusion import detectors, doctor
from dice_talk.diffusion.detectors import choose_detector, distinct, grids, yoloface
from dice_talk.doctor import BAD
from dice_talk.face import Box
from dice_talk.image import Pixels

PICTURE: Pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)


def row(x: float, y: float, w: float, h: float, objectness: float, score: float = 1.0) -> list[float]:
    return [x, y, w, h, objectness, *[0.0] * 10, score]


def test_the_network_sees_what_it_was_made_for() -> None:
    seen: dict[str, Any] = {}

    def network(image: Tensor, grid: list[Tensor]) -> Tensor:
        seen.update(image=image, grid=grid)
        return torch.zeros(1, 5, 16)

    assert yoloface(network)(PICTURE) == []
    assert seen["image"].shape == (1, 3, 416, 832)
    assert seen["image"].min() >= 0 and 0.9 < seen["image"].max() <= 1
    assert [tuple(grid.shape) for grid in seen["grid"]] == [(1, 1, 52, 104, 2), (1, 1, 26, 52, 2), (1, 1, 13, 26, 2)]
    yoloface(network)(PICTURE[:, :310])
    assert seen["image"].shape == (1, 3, 416, 448)  # 429.9 rounded up to a multiple of 32


def test_a_side_that_fits_is_not_rounded_up() -> None:
    """416 / 1001 is no number that floats know: times 1001 it may be a little more than 416."""
    for side in range(100, 2000):
        assert detectors._network_size(side, side) == (416, 416)
    assert detectors._network_size(13, 14) == (416, 448)


def test_parts_of_a_pixel_do_not_count() -> None:
    """416.4 is 416 pixels, which fit; 417 do not."""
    assert detectors._network_size(1024, 1025) == detectors._network_size(1025, 1024)[::-1] == (416, 416)
    assert detectors._network_size(1024, 1026) == (416, 416)
    assert detectors._network_size(1024, 1027) == (416, 448)


def test_grids_count_x_then_y() -> None:
    grid = grids(64, 96)[0]
    assert grid[0, 0, 2, 5].tolist() == [5, 2]


def test_boxes_come_back_in_the_pictures_pixels() -> None:
    sure = torch.tensor([[row(416, 208, 100, 80, 0.9), row(100, 100, 50, 50, 0.9, 0.5), row(50, 50, 9, 9, 0.4)]])
    (found,) = yoloface(lambda image, grid: sure)(PICTURE)
    scale = 300 / 416
    wanted = Box(366 * scale, 168 * scale, 466 * scale, 248 * scale)
    assert [*vars(found).values()] == pytest.approx([*vars(wanted).values()])


def test_overlapping_boxes_are_one_face() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 6, 10, 16]])
    kept = distinct(boxes, torch.tensor([0.6, 0.9, 0.7, 0.8]))
    assert kept == [Box(1, 0, 11, 10), Box(0, 6, 10, 16), Box(20, 20, 30, 30)]
    assert distinct(boxes[:0], torch.zeros(0)) == []


class Network(Module):
    """Stands in for the published TorchScript file."""

    def forward(self, image: Tensor, grid: list[Tensor]) -> Tensor:
        return torch.full((1, 1, 16), 208.0) + 0 * grid[0].sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript is what is published
def test_the_published_file_comes_first(tmp_path: Path) -> None:
    torch.jit.script(Network()).save(str(tmp_path / "yoloface_v5m.pt"))
    (found,) = choose_detector(tmp_path)(PICTURE)
    assert found.width == pytest.approx(208 * 300 / 416)


def test_insightface_comes_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    class FaceAnalysis:
        def __init__(self, **options: Any) -> None:
            made.update(options)

        def prepare(self, **options: Any) -> None:
            made.update(options)

        def get(self, picture: Pixels) -> list[Any]:
            made["picture"] = picture
            return [type("Face", (), {"bbox": np.array([1, 2, 3, 4], np.float32)})()]

    app = ModuleType("insightface.app")
    app.FaceAnalysis = FaceAnalysis  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "insightface", ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.app", app)
    monkeypatch.setattr(detectors, "find_spec", lambda name: object())
    (tmp_path / "insightface" / "models" / "buffalo_l").mkdir(parents=True)
    (tmp_path / "insightface" / "models" / "buffalo_l" / "det_10g.onnx").touch()
    assert choose_detector(tmp_path)(PICTURE) == [Box(1, 2, 3, 4)]
    assert (made["name"], made["root"]) == ("buffalo_l", str(tmp_path / "insightface"))
    assert made["allowed_modules"] == ["detection"]
    assert np.array_equal(made["picture"], PICTURE[..., ::-1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_junk_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def unusable(*_given: Any) -> Any:
        raise AssertionError

    (tmp_path / "yoloface_v5m.pt").write_bytes(b"junk")
    (tmp_path / "insightface" / "models" / "x").mkdir(parents=True)
    (tmp_path / "insightface" / "models" / "x" / "det.onnx").write_bytes(b"junk")
    monkeypatch.setattr(detectors, "find_spec", lambda name: object())
    monkeypatch.setattr(detectors, "insightface", unusable)

    def our_own(picture: Pixels) -> list[Box]:
        return []

    monkeypatch.setattr(detectors, "load_detector", lambda: our_own)
    assert choose_detector(tmp_path) is our_own
    assert "yoloface can't be used" in caplog.text and "insightface can't be used" in caplog.text
    finding = doctor._detector(tmp_path)
    assert finding.grade == BAD and "yoloface, insightface" in finding.words


def test_our_own_is_always_there(tmp_path: Path, portrait: Path) -> None:
    from dice_talk.image import load_portrait

    (found, *_) = choose_detector(tmp_path)(load_portrait(portrait))
    assert found.area > 1000
