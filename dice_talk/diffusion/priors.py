"""Reads emotion priors without running the pickle that contains them.

Each published file is a NumPy object array whose pickle holds `{'mu': float32 (1, 256)}`. A pickle is a program. Here
it is only disassembled into its instructions, from which the array's bytes are extracted.
"""

import pickletools
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

PRIOR_WIDTH = 256
"""Numbers in an emotion prior."""
_LARGEST_FILE = 1 << 20
"""Bytes; the published files have less than 2000."""
Prior = NDArray[np.float32]
_KEY, _DTYPE, _BYTE_ORDER = "mu", "f4", "<"


def read_prior(path: Path) -> Prior:
    """Return the prior (1, 256) in a `.npy`: a plain array or the published dictionary. Raises `EngineUnavailable`."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("it is far larger than a prior")
        with path.open("rb") as file:
            if _holds_objects(file):
                prior = _array_in_pickle(file)
            else:
                file.seek(0)
                prior = np.load(file, allow_pickle=False).astype(np.float32)
    except Exception as error:  # NumPy reads headers with Python's tokenizer, which has many errors
        words = str(error) if isinstance(error, ValueError) else f"It is missing or damaged ({type(error).__name__})."
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED, f"The emotion prior {path.name} can't be read", words
        ) from error
    if prior.size != PRIOR_WIDTH or not np.isfinite(prior).all():
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED,
            f"The emotion prior {path.name} is damaged",
            f"It must hold {PRIOR_WIDTH} numbers.",
        )
    return prior.reshape(1, PRIOR_WIDTH)


def _holds_objects(file: BinaryIO) -> bool:
    """Read the header of an `.npy` (magic, version, length, description) and return whether a pickle follows."""
    start = file.read(10)
    if start[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("not an array as numpy.save writes it")
    return b"'|O'" in file.read(int.from_bytes(start[8:], "little"))


def _array_in_pickle(file: BinaryIO) -> Prior:
    """Extract the little-endian float32 array `mu` from a pickle's instructions, which are read but not run."""
    arguments = [argument for _, argument, _ in pickletools.genops(file)]
    if _KEY not in arguments:
        raise ValueError(f"there is no '{_KEY}' in it")
    value = arguments[arguments.index(_KEY) :]
    buffers = [bytes(argument) for argument in value if isinstance(argument, bytes | bytearray)]
    data = next((buffer for buffer in buffers if len(buffer) >= 4 * PRIOR_WIDTH), b"")
    if _DTYPE not in value or _BYTE_ORDER not in value or len(data) != 4 * PRIOR_WIDTH:
        raise ValueError(f"'{_KEY}' is not {PRIOR_WIDTH} float32 numbers")
    return np.frombuffer(data, "<f4").copy()
