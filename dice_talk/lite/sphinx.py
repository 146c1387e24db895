"""pocketsphinx for Python versions that it has no wheel for, using the library in its wheel for Python 3.13.

`python -m dice_talk.lite.sphinx` downloads this wheel if it is needed. See docs/decisions/0019.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cffi

RELEASE = "5.1.1"
PYTHON = "3.13"
"""Python version of the wheel that is downloaded. All CPython functions that it refers to exist in 3.14 too."""
_DECLARATIONS = """
    void *ps_config_init(void *defaults);
    int ps_config_free(void *config);
    void *ps_config_set_str(void *config, const char *name, const char *value);
    void *ps_config_set_float(void *config, const char *name, double value);
    void *ps_init(void *config);
    int ps_free(void *decoder);
    int ps_start_utt(void *decoder);
    int ps_process_raw(void *decoder, const int16_t *data, size_t samples, int no_search, int full_utt);
    int ps_end_utt(void *decoder);
    void *ps_seg_iter(void *decoder);
    void *ps_seg_next(void *segment);
    const char *ps_seg_word(void *segment);
    void ps_seg_frames(void *segment, int *start, int *end);
    int err_set_loglevel_str(const char *level);
"""
_ffi = cffi.FFI()
_ffi.cdef(_DECLARATIONS)


@dataclass(frozen=True)
class Segment:
    """A sound with its first and last frame, like pocketsphinx's own class of this name."""

    word: str
    start_frame: int
    end_frame: int


class Decoder:
    """The part of pocketsphinx's class of this name that the lite engine uses. Options that are None stay unset."""

    def __init__(self, *, loglevel: str, **options: str | float | None) -> None:
        c = _library()
        c.err_set_loglevel_str(loglevel.encode())
        config = _ffi.gc(c.ps_config_init(_ffi.NULL), c.ps_config_free)
        for name, value in options.items():
            if isinstance(value, str):
                c.ps_config_set_str(config, name.encode(), os.fsencode(value))
            elif value is not None:
                c.ps_config_set_float(config, name.encode(), value)
        decoder = c.ps_init(config)
        if decoder == _ffi.NULL:
            raise RuntimeError("pocketsphinx's decoder could not be set up")
        self._decoder = _ffi.gc(decoder, c.ps_free)

    def start_utt(self) -> None:
        """Begin an utterance."""
        _check(_library().ps_start_utt(self._decoder))

    def process_raw(self, data: bytes, *, no_search: bool, full_utt: bool) -> None:
        """Process 16-bit samples in the machine's byte order."""
        samples = _ffi.from_buffer("int16_t[]", data)
        _check(_library().ps_process_raw(self._decoder, samples, len(samples), no_search, full_utt))

    def end_utt(self) -> None:
        """End the utterance."""
        _check(_library().ps_end_utt(self._decoder))

    def seg(self) -> Iterator[Segment]:
        """Yield the recognised sounds."""
        c = _library()
        start, end = _ffi.new("int *"), _ffi.new("int *")
        segment = c.ps_seg_iter(self._decoder)
        while segment != _ffi.NULL:
            c.ps_seg_frames(segment, start, end)
            yield Segment(_ffi.string(c.ps_seg_word(segment)).decode(), start[0], end[0])
            segment = c.ps_seg_next(segment)


def get_model_path(name: str) -> str:
    """Return the path of one of the models in the package."""
    return str(_package() / "model" / name)


def fetch() -> None:
    """Install the wheel for another Python next to the other packages. Raises `CalledProcessError`."""
    wheel = ["--only-binary=:all:", f"--python-version={PYTHON}", "--no-deps", f"pocketsphinx=={RELEASE}"]
    target = [f"--target={sysconfig.get_path('platlib')}", "--upgrade"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *target, *wheel], check=True)  # noqa: S603


def _check(result: int) -> None:
    if result < 0:
        raise RuntimeError("pocketsphinx could not listen")


def _package() -> Path:
    """Return the folder of the package, even if this Python cannot import it."""
    found = importlib.util.find_spec("pocketsphinx")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'pocketsphinx'", name="pocketsphinx")
    return Path(found.submodule_search_locations[0])


@cache
def _library() -> Any:
    """Load the C library. Binds lazily, because its part for another Python is never called and cannot be bound."""
    return _ffi.dlopen(str(next(_package().glob("_pocketsphinx.*.so"))), _ffi.RTLD_LAZY)


def _needed() -> bool:
    try:
        importlib.import_module("pocketsphinx")
    except ImportError:
        return not _complete()
    return False


def _complete() -> bool:
    try:
        return bool(_library())
    except (ImportError, StopIteration, OSError):
        return False


if __name__ == "__main__" and _needed():
    try:
        fetch()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: pocketsphinx {RELEASE} could not be fetched (see above); exit code {error.returncode}")
