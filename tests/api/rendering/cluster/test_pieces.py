"""Files in pieces. tests/cluster sends them through Ray."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: ./start_server.sh install ray")

from api.rendering.cluster import pieces


@pytest.mark.parametrize(("size", "count"), [(0, 0), (10, 1), (pieces.PIECE_BYTES, 1), (2 * pieces.PIECE_BYTES + 1, 3)])
def test_a_file_comes_back_whole(tmp_path: Path, size: int, count: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    parts = pieces.put(source)
    assert len(parts) == count
    asyncio.run(pieces.fetch(parts, target))
    assert target.read_bytes() == source.read_bytes()
