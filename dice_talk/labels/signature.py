"""C2PA: a signed manifest inside the video, written and checked by the optional package `c2pa-python`.

No network is used.
"""

import hashlib
import io
import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from dice_talk import __version__
from dice_talk.atomic import atomic_path
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import RenderFailed
from dice_talk.labels import SOURCE_TYPES, LabelOptions, Labels
from dice_talk.labels.boxes import boxes

MANIFEST = UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
"""Marks boxes that hold a C2PA manifest."""
MAX_PROBLEMS = 20
INSTALL = "run: ./start_server.sh install c2pa"
OFFLINE = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""A thumbnail would put the portrait itself into the file."""


class SigningError(ValueError):
    """Certificates or key cannot be used. The message is one line and contains no path."""


def refuse_unusable(options: LabelOptions) -> None:
    """Raises `SigningError` if videos are to be signed but cannot be."""
    if options.c2pa_private_key is None or options.c2pa_certificates is None:
        return
    try:
        import c2pa  # noqa: F401 - an extra
    except ImportError as error:
        raise SigningError(f"c2pa_private_key: signing needs the package c2pa-python; {INSTALL}") from error
    _algorithm(*_read(options.c2pa_certificates, options.c2pa_private_key))


def identity(options: LabelOptions) -> str:
    """Return a fingerprint of the certificates. Empty if videos are not signed, or if the file cannot be read."""
    try:
        chain = options.c2pa_certificates.read_bytes() if options.c2pa_certificates else b""
    except OSError:
        return ""
    return hashlib.sha256(chain).hexdigest() if chain else ""


def sign(path: Path, labels: Labels, portrait: Path, engine: str, release: str) -> None:
    """Replace a finished MP4 by a signed one. Raises `RenderFailed` with the reason."""
    import c2pa

    if labels.c2pa_certificates is None or labels.c2pa_private_key is None:
        raise ValueError("nobody signs")
    try:
        chain, key = _read(labels.c2pa_certificates, labels.c2pa_private_key)
        info = c2pa.C2paSignerInfo(_algorithm(chain, key), chain, key, None)
        image = portrait.read_bytes()
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        with (
            c2pa.Signer.from_info(info) as signer,
            _context(c2pa) as context,
            c2pa.Builder(_manifest(labels, engine, release), context) as builder,
            path.open("rb") as unsigned,
            atomic_path(path) as part,
            part.open("w+b") as signed,
        ):
            builder.add_ingredient(_ingredient(image), kind, io.BytesIO(image))
            builder.sign(signer, "video/mp4", unsigned, signed)
    except (c2pa.C2paError, SigningError) as error:
        detail = f"{error}. Tell the operator of this server."
        raise RenderFailed(ErrorCode.SIGNING_FAILED, "The video could not be signed", detail) from error


def found(file: BinaryIO) -> dict[str, Any] | None:
    """Return what an MP4's manifest says and whether its signature is valid, or None if there is no manifest.

    `state`: trusted, valid (the signer is not on a known trust list), invalid, or unchecked if the package is not
    installed.
    """
    if not _has_manifest(file):
        return None
    try:
        import c2pa
    except ImportError:
        return _result("unchecked", problems=[f"this server lacks the package c2pa-python; {INSTALL}"])
    try:
        with _context(c2pa) as context, c2pa.Reader("video/mp4", file, context=context) as reader:
            return _summary(json.loads(reader.json()))
    except c2pa.C2paError as error:
        return _result("invalid", problems=[str(error)[:200]])


def _has_manifest(file: BinaryIO) -> bool:
    for one in boxes(file):
        if one.kind == b"uuid":
            file.seek(one.start)
            if file.read(len(MANIFEST)) == MANIFEST:
                file.seek(0)
                return True
    return False


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    manifest = report["manifests"][report["active_manifest"]]
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ]
    source = next((action["digitalSourceType"] for action in actions if "digitalSourceType" in action), None)
    signer = manifest.get("signature_info", {})
    generator: dict[str, Any] = next(iter(manifest.get("claim_generator_info", [])), {})
    return _result(
        str(report.get("validation_state", "invalid")).lower(),
        signer=signer.get("issuer"),
        generator=" ".join(str(generator[name]) for name in ("name", "version") if name in generator) or None,
        digital_source_type=source.removeprefix(SOURCE_TYPES) if isinstance(source, str) else None,
        problems=[one["code"] for one in report.get("validation_status", [])][:MAX_PROBLEMS],
    )


def _result(state: str, **known: Any) -> dict[str, Any]:
    return {"state": state, "signer": None, "generator": None, "digital_source_type": None, "problems": [], **known}


def _context(c2pa: Any) -> Any:
    return c2pa.Context(c2pa.Settings.from_dict(OFFLINE))


def _manifest(labels: Labels, engine: str, release: str) -> dict[str, Any]:
    created = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPES + labels.source_type,
        "softwareAgent": {"name": f"DICE-Talk Server, {engine} engine", "version": release},
    }
    return {
        "claim_generator_info": [{"name": "DICE-Talk Server", "version": __version__}],
        "title": labels.produce_id or "video",
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


def _ingredient(image: bytes) -> dict[str, str]:
    """Return the ingredient that stands for the portrait, which it names by its hash only."""
    return {
        "title": "portrait",
        "relationship": "inputTo",
        "instance_id": f"urn:sha256:{hashlib.sha256(image).hexdigest()}",
    }


def _read(certificates: Path, key: Path) -> tuple[bytes, bytes]:
    """Read both files. Raises `SigningError`, also if other users can read the key."""
    with _named("c2pa_private_key"):
        if key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SigningError("c2pa_private_key: other users can read the file; chmod 600 keeps it from them")
        secret = key.read_bytes()
    with _named("c2pa_certificates"):
        return certificates.read_bytes(), secret


@contextmanager
def _named(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SigningError(f"{setting}: the file cannot be read: {error.strerror}") from error


def _algorithm(chain: bytes, key: bytes) -> bytes:
    """Return C2PA's name for the key's algorithm. Raises `SigningError` if key and certificate do not match."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        private = serialization.load_pem_private_key(key, None)
        certificates = x509.load_pem_x509_certificates(chain)
    except (ValueError, TypeError) as error:
        raise SigningError("c2pa_private_key or c2pa_certificates is no PEM file without a password") from error
    if certificates[0].public_key() != private.public_key():
        raise SigningError("c2pa_private_key is not the key of the first certificate in c2pa_certificates")
    if not certificates[0].not_valid_before_utc <= datetime.now(UTC) <= certificates[0].not_valid_after_utc:
        raise SigningError("c2pa_certificates: the first certificate has expired, or is not valid yet")
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return b"ps256"
    names = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
    with suppress(KeyError):
        if isinstance(private, ec.EllipticCurvePrivateKey):
            return names[private.curve.name]
    raise SigningError("c2pa_private_key is neither of P-256, P-384, P-521, Ed25519 nor RSA")
