"""Files as objects of Ray, in pieces: one object of 60 MB would be copied several times, and all at once."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

PIECE_BYTES = 4 << 20

Pieces = list[Any]
"""References to the parts of a file, in order."""


def put(path: Path) -> Pieces:
    """Return a file as objects of Ray. They go when nobody refers to them any more. Blocking."""
    return [ray.put(piece) for piece in _read(path)]


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


async def fetch(pieces: Sequence[Any], path: Path) -> None:
    """Write a file from its pieces, which may lie on another node."""
    with await asyncio.to_thread(path.open, "wb") as file:
        for piece in pieces:
            await asyncio.to_thread(file.write, await piece)
