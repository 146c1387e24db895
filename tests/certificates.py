"""A chain of certificates to sign videos with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path


def make_chain(folder: Path, days: float = 30) -> Path:
    """Put chain.pem, its key.pem (of the first certificate), root.pem and other.pem (another key) into `folder`.

    `days`: until it expires.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)

    def name(common: str) -> x509.Name:
        parts = {NameOID.ORGANIZATION_NAME: "Test Operator", NameOID.COMMON_NAME: common}
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])

    def certificate(common: str, key: ec.EllipticCurvePrivateKey, *, is_root: bool) -> x509.Certificate:
        usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        made = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name("Root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_root, None), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(issuer, False)
        )
        if not is_root:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(root_key, hashes.SHA256())

    root_key, key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = certificate("Root", root_key, is_root=True).public_bytes(serialization.Encoding.PEM)
    signer = certificate("Signer", key, is_root=False).public_bytes(serialization.Encoding.PEM)
    (folder / "chain.pem").write_bytes(signer + root)
    (folder / "root.pem").write_bytes(root)
    for file, private in (("key.pem", key), ("other.pem", other)):
        (folder / file).write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / file).chmod(0o600)
    return folder
