"""The diffusion engine's part of `dice-talk doctor`: files, weights, face detector, device. Runs without torch."""

import importlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dice_talk.diffusion.checksums import checksum_of, checksums
from dice_talk.diffusion.files import (
    INSIGHTFACE,
    NEEDED_FILES,
    OPTIONAL_FILES,
    PUBLISHED,
    UNET,
    YOLOFACE,
    weights_label,
)
from dice_talk.diffusion.spec import SPEC
from dice_talk.doctor import BAD, GOOD, NOTE, Finding
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

_GIB = 2**30
_WEIGHTS, _EACH = 5.0, ((0.7, 256), (2.0, 512), (4.5, 768), (8.0, 1024))
"""GiB in half precision for all networks, and for each running task in the smaller portions that are tried when memory
runs out, with the `min_resolution` of a square video. Counted by `benchmarks.live_memory`.
"""
_BESIDE = 0.6
"""GiB for the device's own libraries and for gaps. Estimated."""
_HALF_BYTES = 2


def examine(checkpoints: Path) -> Iterator[Finding]:
    """Return everything worth knowing about the engine, line by line."""
    if not any(map(find_spec, SPEC.packages)) and not any((checkpoints / path).exists() for path in NEEDED_FILES):
        yield Finding(NOTE, SPEC.name, "not installed (./start_server.sh install diffusion)")
        return
    yield from _files(checkpoints)
    yield from _weights(checkpoints)
    yield _detector(checkpoints)
    yield from _device()


def _files(checkpoints: Path) -> Iterator[Finding]:
    noted = checksums(checkpoints)
    for path in (*NEEDED_FILES, *OPTIONAL_FILES):
        file, subject = checkpoints / path, f"file {path}"
        if not file.exists():
            if path in OPTIONAL_FILES:
                yield Finding(NOTE, subject, "missing (optional)")
            else:
                yield Finding(BAD, subject, "missing; run: dice-talk download")
        elif not file.is_file() or not os.access(file, os.R_OK):
            yield Finding(BAD, subject, "can't be read")
        elif path in noted and checksum_of(file) != noted[path]:
            yield Finding(BAD, subject, "is not what was downloaded; run dice-talk download, which fetches it alone")
        else:
            checked = "checksum right" if path in noted else "no checksum recorded; dice-talk download compares it"
            yield Finding(GOOD, subject, f"{_size(file.stat().st_size)}, {checked}")


def _weights(checkpoints: Path) -> Iterator[Finding]:
    """Load everything once: only that proves that no key is missing and no file is damaged."""
    if not (checkpoints / UNET).exists():
        return
    label = weights_label(checkpoints)
    yield Finding(GOOD if label == PUBLISHED else NOTE, "weights", label)
    if not all(find_spec(package) for package in SPEC.packages):
        return
    notes: list[str] = []
    try:
        errors = _import("dice_talk.diffusion.checkpoints").check(checkpoints, notes.append)
    except EngineUnavailable as absent:
        errors = [absent]
    for error in errors:
        yield Finding(BAD, "loading", ". ".join(filter(None, (str(error), error.detail))), fatal=True)
    yield from (Finding(NOTE, "loading", words) for words in notes)
    if not errors and not SPEC.missing(checkpoints):
        yield Finding(GOOD, "loading", "every key is there" + ", none too many" * (not notes))


def _detector(checkpoints: Path) -> Finding:
    if find_spec("torch"):
        try:
            broken = _import("dice_talk.diffusion.detectors").check(checkpoints)
        except EngineUnavailable as error:
            return Finding(BAD, "face detector", str(error))
        if broken:
            return Finding(BAD, "face detector", f"can't be used: {', '.join(broken)}; the next one is taken instead")
    if (checkpoints / YOLOFACE).exists():
        return Finding(GOOD, "face detector", "yoloface, as published")
    if find_spec("insightface") and list((checkpoints / INSIGHTFACE / "models").glob("*/*.onnx")):
        return Finding(GOOD, "face detector", "insightface")
    return Finding(GOOD, "face detector", "built in")


def _device() -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding(NOTE, "device", "not known: torch is not installed")
        return
    try:
        devices = _import("dice_talk.diffusion.devices")
    except EngineUnavailable as error:
        yield Finding(BAD, "device", str(error))
        return
    if refused := devices.refused_nvidia():
        yield Finding(BAD, "device", refused)
    device = devices.best_device()
    gib = devices.memory_bytes(device) / _GIB
    scale = devices.precision(device).itemsize / _HALF_BYTES

    def largest(tasks: int) -> int:
        return max((side for each, side in _EACH if gib >= (_WEIGHTS + tasks * each) * scale + _BESIDE), default=0)

    alone, two = largest(1), largest(2)
    fits = f"min_resolution up to about {two}" if two else "too little for two tasks at once"
    if alone > two:
        fits += f"; with DICE_TALK_WORKERS=1 up to about {alone}"
    if not alone:
        fits = "too little for published weights"
    slow = "" if device.type == "cuda" else "; published weights take minutes per second of video"
    grade = NOTE if slow else GOOD if alone else BAD
    yield Finding(grade, "device", f"{devices.name(device)}, {gib:.1f} GiB: {fits}{slow}")


def _import(module: str) -> Any:
    """Import a module that needs torch. Raises `EngineUnavailable`, which says why it cannot be imported."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # installed for another machine, or by halves
        raise EngineUnavailable(
            ErrorCode.PACKAGE_MISSING, f"the diffusion engine's packages can't be loaded: {error}"
        ) from error


def _size(count: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.2f} {name}"
    return f"{count} bytes"
