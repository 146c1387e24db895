"""Secrets and signatures of callbacks, as standardwebhooks.com specifies them."""

import base64
import hmac
import re
import secrets

from api.settings import Settings
from dice_talk.atomic import atomic_write

PREFIX = "whsec_"
SECRET = re.compile(PREFIX + r"[A-Za-z0-9+/]{32,88}={0,2}")
SECRET_BYTES = 32
SECRET_FILE = "webhook_secret"  # noqa: S105 - its name


def load_secret(settings: Settings) -> bytes:
    """Return the server's secret: the setting, or one that is made once and kept in the data folder. Blocking.

    Raises `ValueError`, `OSError`.
    """
    file = settings.data_dir / SECRET_FILE
    if settings.webhook_secret:
        text = settings.webhook_secret.get_secret_value()
    else:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(file, f"{show(secrets.token_bytes(SECRET_BYTES))}\n".encode(), mode=0o600)
        text = file.read_text().strip()
    try:
        if not SECRET.fullmatch(text):
            raise ValueError
        return base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:  # its text could show the secret
        where = "webhook_secret" if settings.webhook_secret else file
        raise ValueError(f"{where} is not {PREFIX} and 24 to 64 bytes in base64") from None


def secret_of(owner: str | None, server_secret: bytes) -> bytes:
    """Return the secret of an owner's callbacks. Each API key has its own, so no key's holder can sign for another."""
    return server_secret if owner is None else hmac.digest(server_secret, f"callbacks of {owner}".encode(), "sha256")


def show(secret: bytes) -> str:
    """Return a secret in the form that receivers use."""
    return PREFIX + base64.b64encode(secret).decode()


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header webhook-signature."""
    digest = hmac.digest(secret, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"
