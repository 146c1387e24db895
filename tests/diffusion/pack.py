"""Packs a folder of reference cases for the repository: `python -m tests.diffusion.pack FOLDER`."""

import lzma
import sys
from pathlib import Path

from tests.diffusion.cases import COMMITTED

_FLOATS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}]  # 4-byte numbers


def pack(folder: Path) -> None:
    COMMITTED.mkdir(parents=True, exist_ok=True)
    for source in sorted(folder.iterdir()):
        if source.suffix in (".json", ".safetensors"):
            filters = _FLOATS if source.suffix == ".safetensors" else None
            packed = lzma.compress(source.read_bytes(), preset=None if filters else 9, filters=filters)
            (COMMITTED / f"{source.name}.xz").write_bytes(packed)


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
