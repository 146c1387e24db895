"""Finds the labels of any MP4, and verifies the labels of our own files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, RenderFailed
from dice_talk.labels import AIGC, Labels, signature, xmp
from dice_talk.labels.boxes import boxes

MAX_CHARACTERS = 2000
"""Longest field that is returned to a client."""


class InvalidVideo(DiceTalkError):
    """The file is not an MP4 video."""


@dataclass(frozen=True)
class FileLabels:
    """The labels found in a file; None for a missing one. `visible_label` is what the comment of our own files says."""

    aigc: dict[str, str] | str | None  # a string if it is not a JSON object of strings
    digital_source_type: str | None
    visible_label: dict[str, str] | None
    c2pa: dict[str, Any] | None


def read(path: Path) -> FileLabels:
    """Return the labels of a file. Raises `InvalidVideo`."""
    with path.open("rb") as file:
        metadata = _metadata(file)
        return FileLabels(
            aigc=_texts(metadata[AIGC]) if AIGC in metadata else None,
            digital_source_type=_short(xmp.source_type(file)),
            visible_label=_noted(metadata.get("comment", "")),
            c2pa=signature.found(file),
        )


def check(path: Path, labels: Labels) -> None:
    """Raises `RenderFailed` unless a file of ours carries these labels in a form that can be found."""
    found = asdict(read(path))
    signed = found.pop("c2pa")
    wanted = {
        "aigc": json.loads(labels.aigc),
        "digital_source_type": labels.source_type,
        "visible_label": labels.comment_fields.get("visible_label"),
    }
    wrong = [f"{name}: {found[name]} instead of {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    if isinstance(found["aigc"], dict) and list(found["aigc"]) != list(wanted["aigc"]):
        wrong.append("aigc: keys in another order")
    if labels.signed and (signed is None or signed["state"] not in ("valid", "trusted")):
        wrong.append(f"signature: {signed}")
    if wrong:
        raise RenderFailed(ErrorCode.RESULT_INVALID, "The finished video lacks its labels", "; ".join(wrong))


def _metadata(file: Any) -> dict[str, str]:
    """Read the metadata. FFmpeg is told the format, and may open nothing else and decode nothing."""
    if next((one.kind for one in boxes(file)), None) != b"ftyp":
        raise InvalidVideo(
            ErrorCode.VIDEO_TYPE, "The file is not an MP4 video", "Send an MP4, as this service makes them."
        )
    file.seek(0)
    try:
        options = {"protocol_whitelist": "", "codec_whitelist": "none"}
        with av.open(file, "r", format="mov", options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise InvalidVideo(
                    ErrorCode.VIDEO_WITHOUT_PICTURE, "There is no picture in the file", "Send an MP4 video."
                )
            return dict(container.metadata)
    except av.FFmpegError as error:
        detail = "The file is damaged or incomplete. Send a whole MP4."
        raise InvalidVideo(ErrorCode.VIDEO_DAMAGED, "The video can't be read", detail) from error


def _texts(text: str) -> dict[str, str] | str:
    """Parse a JSON object of strings, as the standard requires. Returns `text` itself if it is something else."""
    members = _object(text)
    if not all(isinstance(value, str) for value in members.values()) or not members:
        return text[:MAX_CHARACTERS]
    return {_encodable(name): _encodable(value) for name, value in members.items()}


def _noted(comment: str) -> dict[str, str] | None:
    noted = _object(comment).get("visible_label")
    if not isinstance(noted, dict) or not all(isinstance(noted.get(name), str) for name in ("text", "shown")):
        return None
    return {name: _encodable(noted[name]) for name in ("text", "shown")}


def _object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Returns an empty dictionary if it is something else."""
    try:
        value = json.loads(text) if len(text) <= MAX_CHARACTERS else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can contain but a response cannot."""
    return text.encode("utf-8", "replace").decode()


def _short(text: str | None) -> str | None:
    return text[:MAX_CHARACTERS] if text else None
