"""Reference cases: `NAME.json` and `NAME.safetensors`, plain or packed with xz (see pack.py)."""

import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

from tests.diffusion.recipe import state_dict

COMMITTED = Path(__file__).parents[1] / "data" / "parity"


@dataclass(frozen=True)
class Case:
    folder: Path
    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def weights(self, module: str) -> dict[str, Tensor]:
        return state_dict(self._shared("weights")[module])

    def config(self, module: str) -> dict[str, Any]:
        config = self._shared("config")[module]
        return dict(config.get("config", config))

    def _shared(self, key: str) -> dict[str, Any]:
        """A section that may say "same as OTHER.json"."""
        section = self.about[key]
        if isinstance(section, str):
            return dict(json.loads(_read(self.folder, section.removeprefix("same as ")))[key])
        return dict(section)


def read_case(folder: Path, name: str) -> Case:
    return Case(folder, json.loads(_read(folder, f"{name}.json")), load(_read(folder, f"{name}.safetensors")))


def _read(folder: Path, name: str) -> bytes:
    packed = folder / f"{name}.xz"
    return lzma.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()


def deviation(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, as a share of the largest value wanted."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max())
